/** @file Public surface of the CUDA emitter. */
export * from "./body.ts";
export { type Emitted, type EmitOptions, emit } from "./emit.ts";
export { emittedProblems } from "./emitted.ts";
export { type EmulatorFile, emulatorFiles } from "./emulator.ts";
export { floatLiteral, printExpression } from "./expression.ts";
export { type Instruction, type Run, roll, unroll, Word } from "./instructions.ts";
export { emitLauncher, type LauncherFile } from "./launcher/launcher.ts";
export * from "./manifest.ts";
export { findTarget, type Target, targets } from "./targets.ts";
export { emitTools } from "./tools.ts";
