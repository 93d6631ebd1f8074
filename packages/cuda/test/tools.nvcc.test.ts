/** @file The measuring kernels compile for both ways to copy, without warnings or spills. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { findNvcc } from "../../../scripts/tiers.ts";
import { emitTools } from "../src/index.ts";
import { testFolder } from "./launcher/build.ts";

const folder = testFolder("tools-nvcc");
afterAll(() => folder.remove());

test.each(["sm_80", "sm_90a"])("for %s", (target) => {
  const { source, entries } = emitTools(target);
  const file = join(folder.path, `${target}.cu`);
  writeFileSync(file, source);
  const flags = ["-std=c++17", `-arch=${target}`, "-cubin", "-Xptxas", "-v", "-o", `${file}bin`];
  const log = execFileSync("sh", ["-c", `"$@" 2>&1`, "sh", findNvcc() ?? "nvcc", ...flags, file])
    .toString();
  for (const entry of Object.values(entries)) expect(log).toContain(`function '${entry}'`);
  const spills = [...log.matchAll(/(\d+) bytes spill (?:stores|loads)/g)].map(([, n]) => Number(n));
  expect(spills).toEqual([0, 0, 0, 0]);
  // Of machine.cuh, most is not used here.
  const warnings = log.split("\n").filter((line) => /warning/.test(line));
  expect(warnings.filter((line) => !/never referenced|^Remark: /.test(line))).toEqual([]);
});
