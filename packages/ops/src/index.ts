/** @file Public surface: the op table and its projections. */
export * from "./cuda.ts";
export * from "./schedule.ts";
export * from "./semantics.ts";
