/** @file mpk soak: parts that go on from a file, its check against float32, what does not fit. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../compiler/test/checkpoint.ts";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-cli-soak-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("two parts, then the check; another model's state is refused", async () => {
  const checkpoint = writeCheckpoint(join(dir, "tiny"));
  const state = join(dir, "soak.json");
  const soak = (...more: readonly string[]) => mpk(
    ["soak", checkpoint, "--device", "virtual", "--sms", "2", "--max-context", "24", "--every", "20",
      "--state", state, ...more],
  );
  expect(await soak("--tokens", "40")).toMatchObject({ code: 0, err: "" });
  const second = await soak("--tokens", "80", "--json");
  expect(second.code).toBe(0);
  const told = JSON.parse(second.out);
  expect(told).toMatchObject({ format: "mpk-soak", parts: 2, failures: [] });
  expect(told.tokens).toBeGreaterThanOrEqual(80);
  expect(told.checked).toBe(Math.floor(told.tokens / 20));
  expect(JSON.parse(readFileSync(state, "utf8")).samples).toHaveLength(told.checked);

  const checked = await soak("--check");
  expect(checked.code).toBe(0);
  expect(checked.out).toMatch(new RegExp(`reference +${told.checked} of ${told.checked} compared`));
  const other = await soak("--seed", "2");
  expect(other.code).toBe(2);
  expect(other.err).toMatch(/soak.json: seed is 1, now it is 2\n +fix: name another --state/);
  const none = await mpk(["soak", checkpoint, "--check"]);
  expect(none.err).toMatch(/there is nothing to check/);
}, 60_000);
