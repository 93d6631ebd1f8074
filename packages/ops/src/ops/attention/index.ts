/** @file attention: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { semantics } from "./semantics.ts";

export const attention = defineOp({ semantics });
