/** @file Public surface of the scheduler. */
export * from "./contracts.ts";
export * from "./plan.ts";
