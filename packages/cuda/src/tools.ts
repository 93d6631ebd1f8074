/** @file Emits the kernels that measuring needs beside the model's: random values, a read probe. */
import { deviceText } from "./emit.ts";
import type { Tools } from "./manifest.ts";
import { findTarget } from "./targets.ts";
import { render } from "./templates.ts";

/** 96 KiB in flight a block: 64 read at 99.8 % of an H200's best, and sm_8x's shared memory fits. */
const probe = { stages: 12, stageBytes: 8192 } as const;

/**
 * Kernels beside the model's, for measuring: random bf16 weights, and the read probe, which finds
 * the bandwidth of bulk copies into a ring that nothing depends on.
 * @throws RangeError for an unknown target.
 */
export function emitTools(targetName: string): Tools {
  const target = findTarget(targetName);
  const stages = Math.min(probe.stages, Math.floor((target.sharedBytes - 1024) / probe.stageBytes));
  const entries = { random: "mpk_random", probe: "mpk_read_probe" };
  const source = render(deviceText("tools.cu.njk"), {
    machine: deviceText("machine.cuh").trim(),
    stages,
    stageBytes: probe.stageBytes,
    randomEntry: entries.random,
    probeEntry: entries.probe,
  });
  return {
    source,
    target: target.name,
    entries,
    probe: {
      chunkBytes: probe.stageBytes, sharedBytes: stages * probe.stageBytes + 8 * stages, threads: 32,
    },
  };
}
