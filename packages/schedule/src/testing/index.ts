/** @file `@mpk/schedule/testing`: random programs, machines and plans, and a table to try them on. */
export * from "./programs.ts";
export * from "./plans.ts";
export { toyTable } from "./toyTable.ts";
