/** @file linear: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { semantics } from "./semantics.ts";

export const linear = defineOp({ semantics });
