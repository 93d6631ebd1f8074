/** @file nvcc as the compiler: a cubin comes out, an error in the source is shown. */
import { expect, test } from "vitest";
import { findNvcc } from "../src/cuda/nvrtc.ts";
import { kernelResources } from "../src/cuda/resources.ts";

test("nvcc gives an ELF file for the target, or the compiler's own words", async () => {
  const nvcc = await findNvcc();
  expect(nvcc?.version).toMatch(/^\d+\.\d+$/);
  const cubin = await nvcc?.compile('extern "C" __global__ void k(int* p) { *p = 1; }', "sm_90");
  expect(cubin?.slice(0, 4)).toEqual(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
  await expect(nvcc?.compile("int x = ;", "sm_90")).rejects.toThrow(/expected an expression/);
});

test("registers and spills of one kernel among several are read", async () => {
  const source = `
    extern "C" __global__ void small(int* p) { *p = 1; }
    extern "C" __global__ void __launch_bounds__(32) big(float* p) {
      float x[64];
      for (int i = 0; i < 64; i++) x[i] = p[i * 3];
      for (int i = 0; i < 64; i++) p[i] = x[(i * 7) % 64] * x[63 - i];
    }`;
  const small = await kernelResources(source, "sm_90", "small");
  const big = await kernelResources(source, "sm_90", "big");
  expect(small.registers).toBeGreaterThan(0);
  expect(big.registers).toBeGreaterThan(small.registers);
  expect(big.spillBytes).toBe(0);
});
