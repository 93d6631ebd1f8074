/** @file What tuning found, beside the cubins, by program and machine; read as untrusted input. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { printProgram, type Program } from "@mpk/ir";
import {
  cacheFolder, makeFolder, messageOf, readBounded, writeAtomic, type Environment,
} from "@mpk/runtime";
import type { Machine } from "@mpk/schedule";
import { isChoice, type Choice } from "./knobs.ts";

export interface Tuned {
  readonly choice: Choice;
  readonly ms: number;
  readonly defaultMs: number;
}

/** A record is far smaller. */
const mostBytes = 65_536;

/**
 * What a program and a machine are called. Names of files it was written in and the context's
 * length do not matter: the same model at another context takes the same choice.
 * @param program after all passes
 */
function keyOf(program: Program, machine: Machine): string {
  const ops = program.ops.map((op) => ({ ...op, site: null }));
  const limits = { ...program.limits, maxContext: 1 };
  const text = printProgram({ ...program, ops, limits });
  return createHash("sha256").update(JSON.stringify([machine, text])).digest("hex");
}

/** The file, in the cache folder of `env`, that keeps what `mpk tune` found for a Program. */
export function tunedPath(program: Program, machine: Machine, env: Environment): string {
  return join(cacheFolder(env), "tuned", `${keyOf(program, machine)}.json`);
}

/** What was found before, or null; what cannot be read is told, not thrown. */
export function readTuned(
  program: Program,
  machine: Machine,
  env: Environment,
  onNotice?: (notice: string) => void,
): Tuned | null {
  const path = tunedPath(program, machine, env);
  if (!existsSync(path)) return null;
  const notice = `${path} holds no tuned options: \`mpk tune\` writes it anew`;
  try {
    const found: unknown = JSON.parse(new TextDecoder().decode(readBounded(path, mostBytes)));
    if (isTuned(found)) return { choice: found.choice, ms: found.ms, defaultMs: found.defaultMs };
  } catch {
    // Told below, as what is read but wrong.
  }
  onNotice?.(notice);
  return null;
}

function isTuned(value: unknown): value is Tuned {
  if (typeof value !== "object" || value === null) return false;
  const { format, version, choice, ms, defaultMs } = value as Readonly<Record<string, unknown>>;
  const known = format === "mpk-tuned" && version === 1;
  return known && isChoice(choice) && typeof ms === "number" && typeof defaultMs === "number";
}

/** Stores a result. Returns the path, or what went wrong. */
export function writeTuned(
  program: Program,
  machine: Machine,
  tuned: Tuned,
  env: Environment,
): { readonly path: string; readonly notice: string | null } {
  const path = tunedPath(program, machine, env);
  const record = { format: "mpk-tuned", version: 1, model: program.name, machine, ...tuned };
  try {
    makeFolder(join(cacheFolder(env), "tuned"));
    writeAtomic(path, `${JSON.stringify(record, null, 1)}\n`);
    return { path, notice: null };
  } catch (error) {
    return { path, notice: `the options are found but cannot be stored: ${messageOf(error)}` };
  }
}
