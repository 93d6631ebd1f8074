/** @file Calibration's measurements on a real GPU. */
import type { Program } from "@mpk/ir";
import { runtimeError, type Environment } from "@mpk/runtime";
import type { PlanOptions } from "@mpk/schedule";
import { promptOf } from "../bench/measure.ts";
import { spreadOfTimes, stepMillis } from "../bench/statistics.ts";
import { prebuild } from "../device.ts";
import { open } from "../open.ts";
import { calibrationContext, calibrationTokens, type Measured } from "./calibrate.ts";

const launches = 3;

/** What is measured, and how: the same for building and for measuring. */
const opening = (plan: PlanOptions, env: Environment) =>
  ({ device: "cuda", measure: true, randomSeed: 1n, plan, tuned: false, env }) as const;

/** Builds a program's kernel for the GPU at hand, which `measureOnGpu` then finds in the cache. */
export async function buildForGpu(
  program: Program, plan: PlanOptions, env: Environment,
): Promise<void> {
  await prebuild(program, opening(plan, env));
}

/** Times a program with random weights. @throws MpkError where there is no GPU or it keeps no times. */
export async function measureOnGpu(
  program: Program,
  plan: PlanOptions,
  env: Environment,
): Promise<Measured> {
  const opened = await open(program, opening(plan, env));
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
