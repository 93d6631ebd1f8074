/** @file Public surface of the IR. */
export * from "./types.ts";
export * from "./semantics.ts";
export * from "./numerics.ts";
export { philox } from "./philox.ts";
export * from "./expr.ts";
export * from "./describe.ts";
export * from "./infer.ts";
export * from "./builder.ts";
export * from "./verify.ts";
export * from "./renumber.ts";
export * from "./weights.ts";
export * from "./kv.ts";
export * from "./interpret.ts";
export * from "./passes/index.ts";
export { ParseError } from "./scanner.ts";
export * from "./expr-text.ts";
export { printProgram } from "./print.ts";
export * from "./parse.ts";
