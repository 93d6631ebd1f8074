/** @file Public surface of the runtime. */
export * from "./errors.ts";
export * from "./convert.ts";
export * from "./safetensors.ts";
export * from "./weights.ts";
export * from "./tokenizer.ts";
export * from "./cuda/libraries.ts";
export * from "./cuda/driver.ts";
export * from "./cuda/device.ts";
export * from "./cuda/nvrtc.ts";
export * from "./cuda/cache.ts";
export * from "./backend.ts";
export * from "./profile.ts";
export * from "./session.ts";
export * from "./json.ts";
export { loadNative, type Native } from "./native.ts";
export { openVirtual, type VirtualOptions } from "./virtual.ts";
export { openCuda, type CudaOptions } from "./cuda/backend.ts";
export { kernelResources, type KernelResources } from "./cuda/resources.ts";
