/** @file CUDA bodies for the scheduler's toy ops: they print what the emitter tells them. */
import { plans, toyTable } from "@mpk/schedule/testing";
import type { PlanSizes } from "@mpk/schedule/testing";
import type { Plan } from "@mpk/schedule";
import type fc from "fast-check";
import { emit, type BodyTable, type Emitted, type OpBody } from "../../src/index.ts";

const body: OpBody<never> = {
  template: () => "struct {{ name }} {\n  // {{ words }}\n};",
  run: "toy",
  view: (_op, env) => ({ words: [...env.inputs, ...env.outputs].map((o) => o.word).join(" ") }),
};

const views = new Set(["cols", "last"]);
export const toyBodies: BodyTable = new Map(
  [...toyTable.keys()].filter((kind) => !views.has(kind)).map((kind) => [kind, body]),
);

/** Plans of random toy programs on few SMs, with as many warps as the kernel needs. */
export const toyPlans = (sizes?: PlanSizes): fc.Arbitrary<Plan> =>
  plans(sizes).filter(({ ring }) => ring.consumerWarps > 1);

export const emitToy = (plan: Plan, target = "sm_90a"): Emitted =>
  emit(plan, toyTable, toyBodies, { target });
