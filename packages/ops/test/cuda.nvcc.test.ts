/** @file Random instances of every op, in one kernel, compile without a word. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { findNvcc } from "../../../scripts/tiers.ts";
import { caseTable, type Case } from "./cases.ts";
import { programOfCases, sourceOf } from "./programs.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-ops-nvcc-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const isI32 = ({ dtype, shape }: Case["inputs"][number]): boolean =>
  dtype === "i32" && shape.length > 1;

/** Whether the kernel has code for an instance; see the refusals in cuda.test.ts. */
function isTaken(kind: string, own: Case): boolean {
  const { attrs, inputs } = own;
  if (kind === "attention" || kind === "attentionPart") return Number(attrs["headDim"]) % 16 === 0;
  if (kind === "linear") return attrs["round"] === "bf16" || inputs[0]?.dtype === "bf16";
  return attrs["out"] !== "i32" && !inputs.some(isI32);
}

test("a few instances of each op", () => {
  const cases = Object.entries(caseTable).flatMap(([kind, instances]) => {
    const count = kind === "sample" ? 1 : kind === "linear" ? 8 : 4;
    const taken = instances.filter((own) => isTaken(kind, own));
    return fc.sample(taken, { numRuns: count, seed: 7 }).map((own) => [kind, own] as const);
  });
  const file = join(dir, "cases.cu");
  writeFileSync(file, sourceOf(programOfCases(cases)));
  // The front end finds every wrong name and type; the rest takes long and finds nothing here.
  const flags = ["-std=c++17", "-arch=sm_90a", "-Werror", "all-warnings", "-Xcicc", "-O0", "-ptx"];
  const ran = spawnSync(findNvcc() ?? "nvcc", [...flags, "-o", join(dir, "cases.ptx"), file], {
    encoding: "utf8",
  });
  expect(ran.stderr + ran.stdout).toBe("");
  expect(ran.status).toBe(0);
}, 300_000);
