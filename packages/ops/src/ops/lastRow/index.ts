/** @file lastRow: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { semantics } from "./semantics.ts";

export const lastRow = defineOp({ semantics });
