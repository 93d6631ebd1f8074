/** @file Files are written whole or not at all: killed, out of space, over links and devices. */
import { spawn, spawnSync } from "node:child_process";
import fs, {
  existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { buildCubin } from "../src/cuda/cache.ts";
import type { CudaCompiler } from "../src/cuda/nvrtc.ts";
import { openRegular, readBounded, writeAtomic } from "../src/files.ts";

/** A call of node:fs that fails once `after` bytes are written, or at its first use. */
const broken = vi.hoisted(() => ({ call: "", after: 0, code: "ENOSPC" }));

vi.mock("node:fs", async (original) => {
  const real = await original<typeof fs>();
  const fail = (call: string) => {
    const text = `${broken.code}: made to fail, ${call}`;
    throw Object.assign(new Error(text), { code: broken.code });
  };
  const failing = (name: "openSync" | "fsyncSync" | "renameSync") =>
    (...args: unknown[]) =>
      name === broken.call ? fail(name) : (real[name] as (...all: unknown[]) => unknown)(...args);
  return {
    ...real,
    openSync: failing("openSync"),
    fsyncSync: failing("fsyncSync"),
    renameSync: failing("renameSync"),
    writeSync(fd: number, bytes: Uint8Array, offset: number) {
      if (broken.call !== "writeSync") return real.writeSync(fd, bytes, offset);
      const room = Math.min(bytes.length - offset, broken.after - offset);
      return room > 0 ? real.writeSync(fd, bytes, offset, room) : fail("write");
    },
  };
});

const dir = mkdtempSync(join(tmpdir(), "mpk-files-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
afterEach(() => void (broken.call = ""));

test("whatever fails while writing, the old file stays and nothing else is left", () => {
  const target = join(dir, "target");
  const call = fc.constantFrom("openSync", "writeSync", "fsyncSync", "renameSync");
  const code = fc.constantFrom("ENOSPC", "EIO", "EDQUOT");
  fc.assert(
    fc.property(call, code, fc.nat(40), fc.boolean(), (name, why, after, existed) => {
      rmSync(target, { force: true });
      if (existed) writeFileSync(target, "old");
      Object.assign(broken, { call: name, after, code: why });
      expect(() => writeAtomic(target, "x".repeat(50))).toThrow(why);
      broken.call = "";
      expect(existsSync(target) ? readFileSync(target, "utf8") : null).toBe(existed ? "old" : null);
      expect(readdirSync(dir).filter((one) => one !== "target")).toEqual([]);
    }),
    { numRuns: 100 },
  );
  writeAtomic(target, "new");
  expect(readFileSync(target, "utf8")).toBe("new");
});

test("a link's target is replaced with its mode kept; a device is written to as it is", () => {
  const folder = join(dir, "links");
  mkdirSync(folder);
  writeFileSync(join(folder, "real"), "old", { mode: 0o640 });
  symlinkSync("real", join(folder, "link"));
  writeAtomic(join(folder, "link"), "new");
  expect(readFileSync(join(folder, "real"), "utf8")).toBe("new");
  expect(statSync(join(folder, "real")).mode & 0o777).toBe(0o640);
  expect(fs.lstatSync(join(folder, "link")).isSymbolicLink()).toBe(true);
  writeAtomic("/dev/null", "gone");
  expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
  if (existsSync("/dev/full")) expect(() => writeAtomic("/dev/full", "x")).toThrow(/ENOSPC/);
});

test("only regular files of the size allowed are read; a pipe does not hang", () => {
  const pipe = join(dir, "pipe");
  expect(spawnSync("mkfifo", [pipe]).status).toBe(0);
  expect(() => openRegular(pipe)).toThrow(/pipe: not a regular file/);
  expect(() => openRegular(dir)).toThrow(/not a regular file|EISDIR/);
  writeFileSync(join(dir, "ten"), "0123456789");
  expect(readBounded(join(dir, "ten"), 10)).toHaveLength(10);
  expect(() => readBounded(join(dir, "ten"), 9)).toThrow(/has 10 bytes, at most 9/);
  expect(() => readBounded(join(dir, "none"), 9)).toThrow(/none: cannot be read: ENOENT/);
});

const compiler: CudaCompiler = {
  kind: "nvcc", path: "", version: "1",
  compile: async (source) => new TextEncoder().encode(source),
};

test("a full disk costs the cache, not the kernel; a damaged entry is told once", async () => {
  const folder = join(dir, "cache");
  const build = () => buildCubin(compiler, "k".repeat(5000), "sm_90a", folder);
  Object.assign(broken, { call: "writeSync", after: 100, code: "ENOSPC" });
  const full = await build();
  expect(full.bytes).toHaveLength(5000);
  expect(full.notice).toMatch(/compiled but cannot be cached: ENOSPC/);
  expect(readdirSync(folder)).toEqual([]);
  broken.call = "";
  expect(await build()).toMatchObject({ cached: false, notice: null });
  expect(await build()).toMatchObject({ cached: true, notice: null });

  const [name = ""] = readdirSync(folder);
  const entry = readFileSync(join(folder, name));
  const damage = fc.oneof(
    fc.nat(entry.length - 1).map((length) => entry.subarray(0, length)),
    fc.tuple(fc.nat(entry.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
      const flipped = Uint8Array.from(entry);
      flipped[at] = (flipped[at] ?? 0) ^ bits;
      return flipped;
    }),
  );
  await fc.assert(
    fc.asyncProperty(damage, async (bytes) => {
      writeFileSync(join(folder, name), bytes);
      const again = await build();
      expect(again).toMatchObject({ cached: false, notice: expect.stringMatching(/is damaged/) });
      expect(again.bytes).toEqual(full.bytes);
      expect(await build()).toMatchObject({ cached: true, notice: null });
    }),
    { numRuns: 50 },
  );
});

test("temporary files of killed processes go once they are old", async () => {
  const folder = join(dir, "stale");
  mkdirSync(folder);
  for (const name of [".old.tmp", ".new.tmp"]) writeFileSync(join(folder, name), "half");
  fs.utimesSync(join(folder, ".old.tmp"), 1, 1);
  await buildCubin(compiler, "a", "sm_90a", folder);
  const left = readdirSync(folder).filter((name) => name.endsWith(".tmp"));
  expect(left).toEqual([".new.tmp"]);
});

test("kill -9 in the middle of writing leaves the old or the new file, whole", async () => {
  const target = join(dir, "killed");
  const size = 4 * 2 ** 20;
  const files = join(import.meta.dirname, "..", "src", "files.ts");
  const script =
    `const { writeAtomic } = await import(${JSON.stringify(files)});` +
    `const one = Buffer.alloc(${size}, 65), two = Buffer.alloc(${size}, 66);` +
    `writeAtomic(${JSON.stringify(target)}, one); console.log("ready");` +
    `for (let i = 0; ; i++) writeAtomic(${JSON.stringify(target)}, i % 2 ? one : two);`;
  const node = ["--conditions=@mpk/source", "--input-type=module", "-e", script];
  let interrupted = 0;
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, node, { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    await new Promise((resolve) => setTimeout(resolve, 7 + 11 * round));
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    const bytes = readFileSync(target);
    expect(bytes).toHaveLength(size);
    expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
    const left = readdirSync(dir).filter((name) => name.endsWith(".tmp"));
    interrupted += left.length;
    for (const name of left) rmSync(join(dir, name));
  }
  console.log(`${interrupted} of 3 kills came while a file was being written`);
}, 60_000);
