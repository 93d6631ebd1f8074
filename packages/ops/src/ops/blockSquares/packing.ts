/** @file blockSquares: no weights. */
import { residentPacking } from "../../shared/tiles.ts";

export const packing = residentPacking();
