/** @file blockMax: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { semantics } from "./semantics.ts";

export const blockMax = defineOp({ semantics });
