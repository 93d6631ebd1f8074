/** @file `@mpk/schedule/testing`: random programs, machines, plans and broken plans; the laws. */
export * from "./agreement.ts";
export * from "../promela/abortModel.ts";
export * from "../promela/flagModel.ts";
export * from "../promela/lapModel.ts";
export * from "../promela/launchModel.ts";
export * from "../promela/ringModel.ts";
export * from "./laws.ts";
export * from "./mutations.ts";
export * from "./plans.ts";
export * from "./programs.ts";
export * from "./spin.ts";
export { toyTable } from "./toyTable.ts";
