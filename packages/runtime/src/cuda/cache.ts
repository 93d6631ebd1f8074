/** @file Cubins by the hash of all that made them; a damaged entry is made again, never loaded. */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
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
  const found = await readEntry(file);
  const bytes = found ?? (await compiler.compile(source, target));
  if (found === null) await writeEntry(folder, file, bytes).catch(() => undefined);
  return { bytes, cached: found !== null, millis: performance.now() - start };
}

/** An entry is the SHA-256 of the cubin, then the cubin. */
async function readEntry(file: string): Promise<Uint8Array | null> {
  const entry = await readFile(file).catch(() => null);
  if (entry === null || entry.length < 32) return null;
  const bytes = new Uint8Array(entry.subarray(32));
  return digest(bytes).digest().equals(entry.subarray(0, 32)) ? bytes : null;
}

async function writeEntry(folder: string, file: string, bytes: Uint8Array): Promise<void> {
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  try {
    await writeFile(temporary, Buffer.concat([digest(bytes).digest(), bytes]));
    // Atomic: another process sees the whole entry or none.
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}
