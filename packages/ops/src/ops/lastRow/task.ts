/** @file lastRow: a view, so no task. */
export { viewTask as task } from "../../shared/tiles.ts";
