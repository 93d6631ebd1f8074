/** @file Cubins by the hash of all that made them; a damaged entry is made again, never loaded. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { makeFolder, readBounded, writeAtomic } from "../files.ts";
import type { Environment } from "./libraries.ts";
import { compileOptions, type CudaCompiler } from "./nvrtc.ts";

const digest = (...parts: readonly (string | Uint8Array)[]) => {
  const hash = createHash("sha256");
  // The length keeps ("ab", "c") and ("a", "bc") apart.
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash;
};

/** `$XDG_CACHE_HOME/mpk`, or `~/.cache/mpk`. */
export function cacheFolder(env: Environment = process.env): string {
  const base = env["XDG_CACHE_HOME"];
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "mpk");
}

export interface Cubin {
  readonly bytes: Uint8Array;
  readonly cached: boolean;
  readonly millis: number;
  /** What went wrong with the cache, in a sentence; the cubin is good all the same. */
  readonly notice: string | null;
}

/**
 * The cubin of `source`, from the cache or compiled now. The cache is an optimization: where its
 * folder cannot be written, the cubin is still returned.
 */
export async function buildCubin(
  compiler: CudaCompiler,
  source: string,
  target: string,
  folder = cacheFolder(),
): Promise<Cubin> {
  const start = performance.now();
  const identity = [compiler.kind, compiler.version, target, compileOptions.join(" "), source];
  const file = join(folder, `${digest(...identity).digest("hex")}.cubin`);
  const found = readEntry(file);
  const bytes = found.bytes ?? (await compiler.compile(source, target));
  const notice = found.notice ?? (found.bytes === null ? writeEntry(folder, file, bytes) : null);
  if (found.notice !== null) writeEntry(folder, file, bytes);
  return { bytes, cached: found.bytes !== null, millis: performance.now() - start, notice };
}

/** Bytes of an entry: a kernel of any model has less than a hundredth. */
const mostBytes = 2 ** 30;

/** An entry is the SHA-256 of the cubin, then the cubin. */
function readEntry(file: string): { readonly bytes: Uint8Array | null; readonly notice: string | null } {
  if (!existsSync(file)) return { bytes: null, notice: null };
  const notice = `the cached kernel ${file} is damaged: it is compiled again`;
  try {
    const entry = readBounded(file, mostBytes);
    const bytes = entry.slice(32);
    const whole = entry.length >= 32 && digest(bytes).digest().equals(entry.subarray(0, 32));
    return whole ? { bytes, notice: null } : { bytes: null, notice };
  } catch {
    return { bytes: null, notice };
  }
}

/** What went wrong, or null. */
function writeEntry(folder: string, file: string, bytes: Uint8Array): string | null {
  try {
    makeFolder(folder);
    removeStale(folder);
    writeAtomic(file, Buffer.concat([digest(bytes).digest(), bytes]));
    return null;
  } catch (error) {
    return `the kernel is compiled but cannot be cached: ${messageOf(error)}`;
  }
}

const staleMillis = 3_600_000;

/** What processes that were killed while writing left behind. */
function removeStale(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!/^\..*\.tmp$/.test(name)) continue;
    const path = join(folder, name);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > staleMillis) rmSync(path, { force: true });
  }
}
