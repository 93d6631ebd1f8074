/** @file attention: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import type { AttentionAttrs } from "./semantics.ts";

export const packing: OpPacking<AttentionAttrs> = residentPacking(({ attrs }) =>
  attrs.qkNorm === null ? [] : [4, 5],
);
