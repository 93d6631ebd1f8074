/** @file blockSquares: one op, all its facets. */
import { defineOp } from "../../define.ts";
import { body } from "./body.ts";
import { packing } from "./packing.ts";
import { semantics } from "./semantics.ts";
import { task } from "./task.ts";
import { tiling } from "./tiling.ts";

export const blockSquares = defineOp({ semantics, tiling, packing, task, body });
