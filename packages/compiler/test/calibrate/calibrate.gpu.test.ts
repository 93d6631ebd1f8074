/** @file Calibration of the GPU at hand. */
import { expect, test } from "vitest";
import { buildForGpu, calibrate, errorPercent, measureOnGpu } from "../../src/index.ts";

test("this GPU's small models are predicted within 10 %, also those not fitted to", async () => {
  const found = await calibrate({
    build: (program, plan) => buildForGpu(program, plan, process.env),
    measure: (program, plan) => measureOnGpu(program, plan, process.env),
    now: () => performance.now(),
    fitSeconds: 20,
  });
  for (const one of [...found.fitted, ...found.heldOut]) {
    expect(Math.abs(errorPercent(one)), one.name).toBeLessThan(10);
  }
}, 180_000);
