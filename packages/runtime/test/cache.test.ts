/** @file The cubin cache: the same inputs give the same bytes, a damaged entry is made again. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { buildCubin, cacheFolder } from "../src/cuda/cache.ts";
import type { CudaCompiler } from "../src/cuda/nvrtc.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-cache-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function counting(version: string): CudaCompiler & { runs: number } {
  const compiler = {
    kind: "nvrtc" as const,
    path: "",
    version,
    runs: 0,
    compile: async (source: string, target: string) => {
      compiler.runs++;
      return new TextEncoder().encode(`${version} ${target} ${source}`);
    },
  };
  return compiler;
}

test("a cubin is compiled once for each source, target and compiler version", async () => {
  const compiler = counting("13.0");
  const first = await buildCubin(compiler, "a", "sm_90a", dir);
  const again = await buildCubin(compiler, "a", "sm_90a", dir);
  expect([first.cached, again.cached, compiler.runs]).toEqual([false, true, 1]);
  expect(again.bytes).toEqual(first.bytes);
  await buildCubin(compiler, "b", "sm_90a", dir);
  await buildCubin(compiler, "a", "sm_80", dir);
  expect(compiler.runs).toBe(3);
  expect((await buildCubin(counting("13.1"), "a", "sm_90a", dir)).cached).toBe(false);
});

test("a damaged entry is made again; no temporary file stays; no folder is fine", async () => {
  const compiler = counting("99");
  const made = await buildCubin(compiler, "x", "sm_90a", dir);
  for (const name of readdirSync(dir)) {
    const bytes = readFileSync(join(dir, name));
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    writeFileSync(join(dir, name), bytes);
  }
  const again = await buildCubin(compiler, "x", "sm_90a", dir);
  expect([again.cached, compiler.runs]).toEqual([false, 2]);
  expect(again.bytes).toEqual(made.bytes);
  expect(readdirSync(dir).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  const unwritable = join(dir, readdirSync(dir)[0] ?? "", "below-a-file");
  expect((await buildCubin(compiler, "x", "sm_90a", unwritable)).bytes).toEqual(made.bytes);
  expect(cacheFolder({ XDG_CACHE_HOME: "/c" })).toBe("/c/mpk");
});
