/** @file embedding: the table is resident, read row by row. */
import { residentPacking } from "../../shared/tiles.ts";

export const packing = residentPacking(() => [1]);
