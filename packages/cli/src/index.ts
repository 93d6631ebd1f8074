/** @file Public surface: the command line as a function, for those who embed it. */
export { runCli } from "./cli.ts";
export { exitCodes } from "./codes.ts";
export type { Io, Output } from "./io.ts";
export { planPage } from "./html.ts";
