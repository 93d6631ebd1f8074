/** @file Where weights give way to keys and values: in kernels of models that wait for hand-offs. */
import { scheduleTable } from "@mpk/ops";
import { machines, plan } from "@mpk/schedule";
import { expect, test } from "vitest";
import { programOf, realConfigs, splitProgramOf } from "./emitted/configs.ts";
import { emitReal } from "./emitted/decoders.ts";

const flags = { protocol: "flag" } as const;
const gives = (program: ReturnType<typeof programOf>, options = {}): boolean =>
  emitReal(plan(program, scheduleTable, machines.h200, options), "sm_90a").source.includes("give_way");

test("the producer gives way to attention where its SMs stream little, in steps with flags alone", () => {
  const small = programOf(realConfigs["Qwen3-0.6B"]);
  expect(gives(small, flags)).toBe(true);
  expect(gives(small)).toBe(false);
  expect(gives(programOf(realConfigs["Llama-3.2-1B"]), flags)).toBe(false);
});

test("not where keys and values come through the ring themselves", () => {
  expect(gives(splitProgramOf(realConfigs["Qwen3-0.6B"], machines.h200.sms), flags)).toBe(false);
});
