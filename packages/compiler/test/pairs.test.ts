/** @file Which linears of real shapes have tiles that take turns in pairs, and that the verifier looks. */
import { knownShapes, modelFromConfig } from "@mpk/models";
import { scheduleTable } from "@mpk/ops";
import { machines, takesTurns, verify, type Plan, type PlanOptions } from "@mpk/schedule";
import { expect, test } from "vitest";
import { planModel } from "../src/index.ts";

async function planned(shape: string, options: PlanOptions = {}, maxTokens = 8): Promise<Plan> {
  const config = { ...knownShapes()[shape]?.config, num_hidden_layers: 1 };
  const source = modelFromConfig(config, { maxTokens, maxContext: 256 });
  return (await planModel(source, { machine: machines.h200, plan: options })).plan;
}

/** Lengths of the contractions whose tiles take turns. */
const turns = ({ layouts }: Plan): readonly number[] =>
  layouts.flatMap((layout) => (layout !== null && takesTurns(layout) ? [layout.k] : []));

test.each([
  ["qwen3-8b", [12_288]],
  ["llama-3.1-70b-40-layers", [28_672]],
  // An SM has one tile.
  ["llama-3.2-1b", []],
  ["qwen3-1.7b", []],
  // Down is folded; x stays in registers.
  ["llama-3.2-3b", []],
  ["qwen3-0.6b", []],
] as const)("%s: down projections of %j columns, with flags", async (shape, columns) => {
  const plan = await planned(shape);
  expect(turns(plan)).toEqual(columns);
  expect(verify(plan, scheduleTable).ok).toBe(true);
  expect(turns(await planned(shape, { pairs: false }))).toEqual([]);
  expect(turns(await planned(shape, { protocol: "counter" }))).toEqual([]);
});

test("steps of one token read x once", async () => {
  expect(turns(await planned("qwen3-8b", {}, 1))).toEqual([]);
});

test("a plan whose tiles take turns otherwise than its op packs them is found out", async () => {
  const plan = await planned("qwen3-8b");
  const layouts = plan.layouts.map((layout) =>
    layout !== null && takesTurns(layout) ? { ...layout, chunksPerSlice: 16 } : layout);
  expect(verify({ ...plan, layouts }, scheduleTable).ok).toBe(false);
});
