/** @file pointwise: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { semantics } from "./semantics.ts";

export const pointwise = defineOp({ semantics });
