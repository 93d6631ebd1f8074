/** @file `@mpk/schedule/testing`: random programs, machines, plans and broken plans; the laws. */
export * from "./laws.ts";
export * from "./mutations.ts";
export * from "./plans.ts";
export * from "./programs.ts";
export { toyTable } from "./toyTable.ts";
