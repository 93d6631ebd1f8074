/** @file Plans of a real model, exported as a user would, searched by SPIN on their own. */
import { scheduleTable } from "@mpk/ops";
import { exportPromela, plan, verify, type Plan } from "@mpk/schedule";
import { compileSpin } from "@mpk/schedule/testing";
import { describe, expect, it } from "vitest";
import { verifyModel } from "../src/index.ts";
import { tinyConfig } from "./checkpoint.ts";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

async function planOf(sms: number, layers: number): Promise<Plan> {
  const folder = mkdtempSync(join(tmpdir(), "mpk-promela-"));
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify({ ...tinyConfig, num_hidden_layers: layers }));
  try {
    return (await verifyModel(file, { sms })).plan;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function errorIn(made: Plan): string | null | undefined {
  const model = compileSpin(exportPromela(made, scheduleTable));
  try {
    return model.search([""])[0]?.error;
  } finally {
    model.dispose();
  }
}

describe("a Llama on two SMs", { timeout: 240_000 }, () => {
  it("has a plan that SPIN finds nothing wrong with", async () => {
    expect(errorIn(await planOf(2, 2))).toBeNull();
  });

  it("has one with flags in the data, too", async () => {
    const { program, machine } = await planOf(2, 1);
    const flagged = plan(program, scheduleTable, machine, { protocol: "flag" });
    expect(flagged.flags.value.length).toBeGreaterThan(0);
    expect(errorIn(flagged)).toBeNull();
  });

  it("shows a stale read where a wait is missing", async () => {
    const made = await planOf(2, 1);
    // The last wait within a step of the plan's last task.
    const at = made.waits.items.length - 1;
    const start = made.waits.start.map((x) => Math.min(x, at));
    const broken = { ...made, waits: { start, items: made.waits.items.slice(0, at) } };
    expect(verify(broken, scheduleTable).ok).toBe(false);
    expect(errorIn(broken)).toMatch(/assertion violated/);
  });
});
