/** @file rmsNorm: the norm's parameters are resident. */
import { residentPacking } from "../../shared/tiles.ts";

export const packing = residentPacking(() => [1]);
