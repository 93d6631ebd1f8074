/** @file Public surface of the IR. */
export * from "./types.ts";
export * from "./semantics.ts";
export * from "./numerics.ts";
export * from "./expr.ts";
