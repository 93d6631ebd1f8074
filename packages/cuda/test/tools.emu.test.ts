/** @file The measuring kernels on the CPU: random bits as the host makes them, each byte read once. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bf16BitsOf, philox } from "@mpk/ir";
import { afterAll, expect, test } from "vitest";
import { findHostCompiler } from "../../../scripts/tiers.ts";
import { emitTools } from "../src/index.ts";
import { deviceText } from "../src/emit.ts";
import { testFolder } from "./launcher/build.ts";

const folder = testFolder("tools-emu");
afterAll(() => folder.remove());

/** What stands in for machine.cuh: one thread of one block at a time, copies that end at once. */
const machine = `#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#define MPK_DEVICE static
#define MPK_KERNEL static
#define MPK_SHARED_MEMORY(name) u8* const name = theMemory
#define MPK_FULL_ARRIVALS 1u
#define MPK_PRODUCER_LANES 1u

typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int32_t i32;
static u32 theBlock, theThread;
static u64 reads[4096];
static const u8* first;
static u8 theMemory[1 << 20];
static u32 thread_index() { return theThread; }
static u32 block_index() { return theBlock; }
static u32 block_threads() { return 256; }
static u32 multiply_high(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }
static float add_rn(float a, float b) { volatile float r = a + b; return r; }
static float multiply_rn(float a, float b) { volatile float r = a * b; return r; }
static u16 f32_to_bf16(float v) {
  u32 bits;
  std::memcpy(&bits, &v, 4);
  return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static void warp_barrier() {}
static void producer_barrier() {}
static void mbarrier_init(u64* bar, u32) { *bar = 0; }
static void mbarrier_init_fence() {}
// Two bits of state: phases completed.
static bool mbarrier_test(u64* bar, u32 parity) { return ((*bar - 1) & 1u) == parity; }
typedef u8* SharedAt;
static SharedAt shared_address(const void* p) { return static_cast<u8*>(const_cast<void*>(p)); }
static void copy_to_stage(SharedAt to, const u8* from, u32 bytes, SharedAt bar, u32) {
  if (to + bytes > theMemory + sizeof theMemory) std::puts("outside of shared memory");
  reads[(from - first) / bytes]++;
  ++*reinterpret_cast<u64*>(bar);
}
`;

/** The emitted text without what is the GPU's alone. */
function hostSource(main: string): string {
  const { source } = emitTools("sm_90a");
  const text = source.replace(deviceText("machine.cuh").trim(), () => machine);
  expect(text).not.toBe(source);
  return `${text}\n${main}`;
}

function run(name: string, main: string): string {
  const path = join(folder.path, name);
  writeFileSync(`${path}.cpp`, hostSource(main));
  const flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-w", `${path}.cpp`, "-o", path];
  const built = spawnSync(findHostCompiler() ?? "c++", flags, { encoding: "utf8" });
  expect(built.stderr).toBe("");
  return spawnSync(path, { encoding: "utf8", timeout: 20_000 }).stdout;
}

test("the kernel's random bits are the host's, also at a ragged end", () => {
  const count = 4097;
  const scale = Math.fround(0.01);
  const out = run("random", `
static u16 out[${count + 8}];
int main() {
  for (theBlock = 0; theBlock < 3; theBlock++)
    for (theThread = 0; theThread < 256; theThread++)
      mpk_random(out, ${count}, 77u, 5u, 6u, 1.0f, ${scale}f, 3u);
  for (u32 i = 0; i < ${count + 8}; i++) std::printf("%u ", out[i]);
}`);
  const got = out.trim().split(" ").map(Number);
  const expected = Array.from({ length: count }, (_, i) => {
    const w = philox([Math.floor(i / 4), 0, 77, 0], [5, 6])[i % 4] ?? 0;
    const sum = (w & 255) + ((w >>> 8) & 255) + ((w >>> 16) & 255) + (w >>> 24) - 510;
    return bf16BitsOf(Math.fround(1 + Math.fround(scale * sum)));
  });
  expect(got.slice(0, count)).toEqual(expected);
  expect(got.slice(count)).toEqual(Array(8).fill(0));
});

test("the probe reads each chunk once, whether it fills its ring or not", () => {
  const sizes = [1, 5, 12, 13, 100];
  const out = run("probe", `
static u8 source[1];
int main() {
  first = source;
  for (u32 chunks : {${sizes.join("u, ")}u}) {
    std::memset(reads, 0, sizeof reads);
    for (theBlock = 0; theBlock < 3; theBlock++) mpk_read_probe(source, chunks);
    for (u32 i = 0; i < 3 * chunks + 2; i++) std::printf("%u ", (u32)reads[i]);
    std::puts("");
  }
}`);
  const lines = out.trim().split("\n").map((line) => line.trim().split(" ").map(Number));
  expect(lines).toEqual(sizes.map((chunks) => [...Array<number>(3 * chunks).fill(1), 0, 0]));
});
