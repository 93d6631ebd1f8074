/** @file Public surface: the op table and its projections. */
export * from "./semantics.ts";
