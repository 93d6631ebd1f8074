/** @file Calibration's measurements on a real GPU. */
import type { Program } from "@mpk/ir";
import { runtimeError, type Environment } from "@mpk/runtime";
import type { PlanOptions } from "@mpk/schedule";
import { promptOf } from "../bench/measure.ts";
import { spreadOfTimes, stepMillis } from "../bench/statistics.ts";
import { open } from "../open.ts";
import { calibrationContext, calibrationTokens, type Measured } from "./calibrate.ts";

const launches = 3;

/** Times a program with random weights. @throws MpkError where there is no GPU or it keeps no times. */
export async function measureOnGpu(
  program: Program,
  plan: PlanOptions,
  env: Environment,
): Promise<Measured> {
  const opened = await open(program, {
    device: "cuda", measure: true, randomSeed: 1n, plan, tuned: false, env,
  });
  try {
    const { session, compiled } = opened;
    const readBytesPerSecond = await session.readBandwidth();
    const promptIds = promptOf(calibrationContext, session.limits.vocab);
    const promptSteps = Math.ceil(calibrationContext / program.limits.maxTokens);
    const times: number[] = [];
    // The first launch only warms up.
    for (let launch = 0; launch <= launches; launch++) {
      const generation = session.generate({
        promptIds, maxTokens: calibrationTokens, eosIds: [], stamps: true,
      });
      for await (const _ of generation);
      const { tokens } = stepMillis({ ...generation.summary(), promptSteps });
      if (launch > 0) times.push(...tokens);
    }
    if (times.length === 0) {
      throw runtimeError(`${session.device.name} kept no step times`, "times only come from a GPU");
    }
    const stepNanos = spreadOfTimes(times).p50 * 1e6;
    return {
      plan: compiled.plan, stepNanos, readBytesPerSecond, target: compiled.report.target ?? "",
    };
  } finally {
    await opened.close();
  }
}
