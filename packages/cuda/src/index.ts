/** @file Public surface of the CUDA emitter. */
export * from "./manifest.ts";
