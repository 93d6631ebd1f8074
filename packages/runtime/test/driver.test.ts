/** @file The CUDA driver's wrappers, over a fake: what cannot work is refused with its reason. */
import { expect, test } from "vitest";
import { openDevice } from "../src/cuda/device.ts";
import { openDriver } from "../src/cuda/driver.ts";
import { findCompiler } from "../src/cuda/nvrtc.ts";
import { MpkError } from "../src/errors.ts";
import { fakeFunctions, fakeNative } from "./fake-driver.ts";

const open = (options: Parameters<typeof fakeFunctions>[0]) =>
  openDriver({}, fakeNative(fakeFunctions(options)));

test("an old driver is refused with both versions, even where cuInit would fail", async () => {
  const error = await open({ version: 11_080, devices: 0 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(MpkError);
  expect(error).toMatchObject({
    category: "environment",
    message: expect.stringMatching(/supports CUDA 11.8, at least 12.0 is needed/),
    fix: expect.stringMatching(/update NVIDIA's driver/),
  });
});

test("no driver, no device, no such device: each says what to do", async () => {
  await expect(openDriver({}, fakeNative(null))).rejects.toMatchObject({
    category: "environment",
    message: expect.stringMatching(/no CUDA driver/),
    fix: expect.stringMatching(/--device virtual/),
  });
  await expect(open({ devices: 0 })).rejects.toMatchObject({
    category: "environment",
    message: "cuInit: CUDA_ERROR_NO_DEVICE (100): as the driver describes it",
  });
  const driver = await open({});
  expect(() => openDevice(driver, 1)).toThrow(/no CUDA device 1/);
});

test("a device tells what it is; memory that is not there is refused with numbers", async () => {
  const device = openDevice(await open({ freeBytes: 1000n }));
  const info = { name: "Fake H200", major: 9, sms: 132, sharedBytes: 232_448 };
  expect(device.info).toMatchObject(info);
  expect(() => device.alloc(5000, "the KV cache")).toThrow(
    /out of GPU memory: the KV cache needs 5000 bytes, 1000 of/,
  );
  const event = device.event();
  expect(() => device.done(event)).toThrow(/CUDA_ERROR_ILLEGAL_ADDRESS/);
  device.close();
});

test("without NVRTC and nvcc there is no compiler, and that is said", async () => {
  await expect(findCompiler(null, { PATH: "/nowhere", CUDA_HOME: "/nowhere" }, fakeNative(null)))
    .rejects.toMatchObject({
      category: "environment",
      message: expect.stringMatching(/no CUDA comp/),
    });
});
