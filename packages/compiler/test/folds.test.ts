/** @file Which linears of real shapes are planned with tiles folded along K, and that the verifier looks. */
import { knownShapes, modelFromConfig } from "@mpk/models";
import { scheduleTable } from "@mpk/ops";
import { machines, verify, type Plan, type PlanOptions } from "@mpk/schedule";
import { describe, expect, test } from "vitest";
import { planModel } from "../src/index.ts";

async function planned(shape: string, plan?: PlanOptions, maxTokens = 8): Promise<Plan> {
  const config = { ...knownShapes()[shape]?.config, num_hidden_layers: 1 };
  const source = modelFromConfig(config, { maxTokens, maxContext: 256 });
  const options = { machine: machines.h200, ...(plan === undefined ? {} : { plan }) };
  return (await planModel(source, options)).plan;
}

/** Folds of each linear, by its first weight's name. */
function foldsOf({ program, layouts }: Plan): Readonly<Record<string, number>> {
  const entries = program.ops.flatMap(({ inputs }, op) => {
    const layout = layouts[op];
    const name = program.weights.find(({ value }) => value === inputs[1])?.parts[0]?.tensor ?? "";
    return layout == null ? [] : [[name.split(".").at(-2) ?? name, layout.folds] as const];
  });
  return Object.fromEntries(entries);
}

describe("on an H200, with flags", () => {
  test.each([
    ["llama-3.2-3b", { q_proj: 2, o_proj: 2, down_proj: 2 }],
    // What the busiest SM has of an op with few tiles fits the ring.
    ["llama-3.2-1b", {}],
    ["qwen3-0.6b", {}],
    // All SMs but a few have as many tiles.
    ["qwen3-1.7b", {}],
    ["qwen3-8b", {}],
  ])("%s: %o, all others whole", async (shape, folded) => {
    const folds = foldsOf(await planned(shape));
    expect(Object.fromEntries(Object.entries(folds).filter(([, of]) => of > 1))).toEqual(folded);
    expect(Object.keys(folds).length).toBeGreaterThan(4);
  });

  test("a ring that holds less leaves more to fold", async () => {
    const folds = foldsOf(await planned("llama-3.2-1b", { protocol: "flag", stages: 16 }));
    expect(folds).toMatchObject({ q_proj: 2, o_proj: 1, gate_proj: 1, down_proj: 1 });
  });

  test("a fold may be asked for, as far as an op's tiles can have it", async () => {
    const folds = async (options: PlanOptions, maxTokens?: number): Promise<ReadonlySet<number>> =>
      new Set(Object.values(foldsOf(await planned("qwen3-8b", options, maxTokens))));
    expect(await folds({ folds: 4 })).toEqual(new Set([4]));
    expect(await folds({ protocol: "flag", folds: 2 })).toEqual(new Set([2]));
    expect(await folds({ protocol: "flag", folds: 1 })).toEqual(new Set([1]));
    expect(await folds({ protocol: "counter" })).toEqual(new Set([1]));
    // Tiles for many tokens share slices of x; lm_head has one row.
    expect(await folds({ folds: 2 }, 64)).toEqual(new Set([1, 2]));
    await expect(folds({ folds: 3 as 2 })).rejects.toThrow('folds: expected "auto", 1, 2 or 4, got 3');
  });
});

test("a folded plan keeps all laws, and one that says other folds than its op packs does not", async () => {
  const plan = await planned("llama-3.2-3b");
  expect(verify(plan, scheduleTable).ok).toBe(true);
  for (const folds of [4, 1, 3]) {
    const layouts = plan.layouts.map((layout) =>
      layout === null || layout.folds === 1 ? layout : { ...layout, folds });
    expect(verify({ ...plan, layouts }, scheduleTable).ok).toBe(false);
  }
}, 30_000);
