/** @file Random machines, ring options and plans, as fast-check arbitraries. */
import fc from "fast-check";
import type { Program } from "@mpk/ir";
import type { ScheduleTable } from "../contracts.ts";
import { virtual } from "../machines.ts";
import type { Machine, Plan } from "../plan.ts";
import { plan } from "../planner/index.ts";
import type { PlanOptions } from "../planner/index.ts";
import { programs } from "./programs.ts";
import type { ProgramSizes } from "./programs.ts";
import { toyTable } from "./toyTable.ts";

/** Machines of `min` to `max` SMs, biased to few. */
export function machineArbitrary(min = 1, max = 256): fc.Arbitrary<Machine> {
  return fc.integer({ min, max }).map((sms) => virtual(sms));
}

/** Small rings that go round several times even in tiny programs; all of them sound. */
export function planOptions(): fc.Arbitrary<PlanOptions> {
  return fc
    .record({
      consumerWarps: fc.constantFrom(1, 2, 4),
      laps: fc.integer({ min: 1, max: 3 }),
      inFlight: fc.integer({ min: 1, max: 5 }),
      period: fc.constantFrom(1, 2, Infinity),
      pageTokens: fc.constantFrom(1, 4, 16),
    })
    .map(({ consumerWarps, laps, inFlight, period, pageTokens }) => {
      const stages = Math.max(2, consumerWarps * laps);
      const maxInFlight = Math.min(inFlight, stages - 1);
      return { consumerWarps, stages, stageBytes: 1024, maxInFlight, period, pageTokens };
    });
}

export interface PlanSizes extends ProgramSizes {
  readonly minSms?: number;
  readonly maxSms?: number;
}

/** As `plans`, with flags in the data wherever the table's ops can. */
export function flaggedPlans(
  sizes: PlanSizes = {},
  table: ScheduleTable = toyTable,
  from: fc.Arbitrary<Program> = programs(sizes),
): fc.Arbitrary<Plan> {
  return plans(sizes, table, from, { protocol: "flag" });
}

/** Plans of the caller's programs; by default tiny ones over `toyTable` on 2 to 5 SMs. */
export function plans(
  sizes: PlanSizes = {},
  table: ScheduleTable = toyTable,
  from: fc.Arbitrary<Program> = programs(sizes),
  fixed: PlanOptions = {},
): fc.Arbitrary<Plan> {
  return fc
    .record({
      program: from,
      machine: machineArbitrary(sizes.minSms ?? 2, sizes.maxSms ?? 5),
      options: planOptions(),
    })
    .map(({ program, machine, options }) => plan(program, table, machine, { ...options, ...fixed }));
}
