/** @file sample: one task. */
import type { OpTiling } from "@mpk/schedule";
import { singleTiling } from "../../shared/tiles.ts";
import type { SampleAttrs } from "./semantics.ts";

export const tiling: OpTiling<SampleAttrs> = singleTiling((op) => [...op.inputs.keys()]);
