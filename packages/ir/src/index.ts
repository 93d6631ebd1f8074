/** @file Public surface of the IR. */
export * from "./types.ts";
export * from "./semantics.ts";
