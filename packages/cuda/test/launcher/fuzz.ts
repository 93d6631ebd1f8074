/** @file The launcher's readers under fuzzing, compiled with sanitizers. */
import { join } from "node:path";
import { findHostCompiler } from "../../../../scripts/tiers.ts";
import { runCleanly, writeLauncher } from "./build.ts";

/** Builds the fuzzer into `folder`; gives a run of it: its line of results. */
export function buildFuzzer(folder: string) {
  writeLauncher(folder);
  const source = join(import.meta.dirname, "fuzz.cpp");
  const program = join(folder, "fuzz");
  const sanitized = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  const flags = ["-std=c++17", "-Wall", "-Wextra", ...sanitized, "-I", folder];
  runCleanly(findHostCompiler() ?? "c++", [...flags, source, "-o", program]);
  return (inputs: number, seconds: number, seed: number): string =>
    runCleanly(program, [inputs, seconds, seed].map(String)).trim();
}
