/** @file nvcc as the compiler: a cubin comes out, an error in the source is shown. */
import { expect, test } from "vitest";
import { findNvcc } from "../src/cuda/nvrtc.ts";

test("nvcc gives an ELF file for the target, or the compiler's own words", async () => {
  const nvcc = await findNvcc();
  expect(nvcc?.version).toMatch(/^\d+\.\d+$/);
  const cubin = await nvcc?.compile('extern "C" __global__ void k(int* p) { *p = 1; }', "sm_90");
  expect(cubin?.slice(0, 4)).toEqual(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
  await expect(nvcc?.compile("int x = ;", "sm_90")).rejects.toThrow(/expected an expression/);
});
