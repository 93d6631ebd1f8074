/** @file The test command's own laws: every file is counted, everything ends, the last line is right. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import {
  countsText, longBudget, noCounts, runChild, runLong, runVitest, sumOf, timerMillis,
} from "./runs.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-runs-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A vitest that does what MPK_FAKE says: its report's text, its exit code, or hanging. */
const fake = join(dir, "vitest");
writeFileSync(fake, `#!${process.execPath}
const { writeFileSync } = require("node:fs");
const { report, code, hang, ignore } = JSON.parse(process.env.MPK_FAKE);
const output = process.argv.find((arg) => arg.startsWith("--outputFile.json=")).slice(18);
if (report !== undefined) writeFileSync(output, report);
if (ignore) process.on("SIGTERM", () => undefined);
if (hang) setInterval(() => undefined, 1000);
else process.exit(code);
`);
chmodSync(fake, 0o755);

interface Behaviour {
  readonly report?: string;
  readonly code?: number;
  readonly hang?: boolean;
  readonly ignore?: boolean;
}

const reportOf = (status: string, statuses: readonly string[], name = "a.emu.test.ts"): string =>
  JSON.stringify({ testResults: [{
    name: join(dir, name), status, startTime: 0, endTime: 1,
    assertionResults: statuses.map((one) => ({ status: one })),
  }] });

async function counted(behaviour: Behaviour, seconds: number | null = null, files = ["a.test.ts"]) {
  const counts = noCounts();
  const said: string[] = [];
  const env = { ...process.env, MPK_FAKE: JSON.stringify(behaviour) };
  const run = { vitest: fake, root: dir, files, seconds, graceSeconds: 0.2, env };
  await runVitest(run, counts, (line) => void said.push(line));
  return { counts, total: sumOf(Object.values(counts)), said };
}

test("tests are counted in their tiers, and a file that fails without a test counts once", async () => {
  const good = await counted({ report: reportOf("passed", ["passed", "skipped", "passed"]), code: 0 });
  expect(good.counts.emu).toEqual({ passed: 2, failed: 0, skipped: 1 });
  const bad = await counted({ report: reportOf("failed", ["failed", "passed"]), code: 1 });
  expect(bad.total).toEqual({ passed: 1, failed: 1, skipped: 0 });
  const unloaded = await counted({ report: reportOf("failed", []), code: 1 });
  expect(unloaded.total).toEqual({ passed: 0, failed: 1, skipped: 0 });
  expect(unloaded.said).toContain("a.emu.test.ts: failed outside its tests");
});

test("a runner that crashes, says nothing or writes half a report fails, once", async () => {
  const behaviours: readonly Behaviour[] = [
    { code: 1 }, { code: 0 }, { report: '{"testResults": [', code: 1 }, { report: "null", code: 0 },
    { report: "{}", code: 1 }, { report: reportOf("passed", ["passed"]), code: 3 },
  ];
  for (const behaviour of behaviours) {
    expect((await counted(behaviour)).total.failed).toBe(1);
  }
  const counts = noCounts();
  const run = { vitest: join(dir, "missing"), root: dir, files: [], seconds: null };
  await runVitest(run, counts, () => undefined);
  expect(sumOf(Object.values(counts)).failed).toBe(1);
});

test("what hangs is ended and skipped, even where it does not listen", async () => {
  for (const ignore of [false, true]) {
    const hung = await counted({ hang: true, ignore }, 0.3, ["a.nvcc.long.test.ts"]);
    expect(hung.counts.nvcc).toEqual({ passed: 0, failed: 0, skipped: 1 });
    expect(hung.said).toEqual(["not finished in 0.3 s: a.nvcc.long.test.ts"]);
  }
  const { timedOut } = await runChild("sleep", ["60"], { cwd: dir, seconds: 0.1 });
  expect(timedOut).toBe(true);
});

test("any seconds make a timer that Node takes", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), (seconds) => {
      const millis = timerMillis(seconds);
      expect(Number.isInteger(millis)).toBe(true);
      expect(millis).toBeGreaterThanOrEqual(1);
      expect(millis).toBeLessThan(2 ** 31);
    }),
  );
});

test("within any budget every file is run or skipped by name, and none begins too late", async () => {
  const files = fc.uniqueArray(
    fc.tuple(fc.stringMatching(/^[a-z]{1,5}$/), fc.constantFrom("", ".emu", ".nvcc")),
    { maxLength: 8, selector: ([name]) => name },
  ).map((all) => all.map(([name, tier]) => `${name}${tier}.long.test.ts`));
  const seconds = fc.double({ min: 0, max: 100, noNaN: true });
  await fc.assert(
    fc.asyncProperty(files, seconds, fc.array(seconds, { minLength: 8, maxLength: 8 }), async (
      names, budget, durations,
    ) => {
      const counts = noCounts();
      const said: string[] = [];
      const ran: string[] = [];
      let clock = 0;
      const runOne = async (file: string, limit: number): Promise<void> => {
        expect(clock / 1000).toBeLessThan(budget);
        expect(limit).toBeGreaterThanOrEqual(60);
        clock += 1000 * Math.min(limit, durations[ran.push(file) - 1] ?? 0);
        counts.unit.passed++;
      };
      await runLong(names, budget, counts, runOne, (line) => void said.push(line), () => clock);
      expect([...ran, ...said.map((line) => line.split(": ")[1])]).toEqual(names);
      expect(sumOf(Object.values(counts))).toEqual({
        passed: ran.length, failed: 0, skipped: said.length,
      });
    }),
  );
});

test("MPK_LONG_SECONDS is seconds, or refused; the closing line has the agreed form", () => {
  expect([undefined, "0", "0.25", "600"].map(longBudget)).toEqual([3600, 0, 0.25, 600]);
  expect(["", " ", "abc", "-1", "Infinity", "NaN"].map(longBudget)).toEqual(Array(6).fill(null));
  fc.assert(
    fc.property(fc.array(fc.record({ passed: fc.nat(), failed: fc.nat(), skipped: fc.nat() })), (all) => {
      expect(countsText(sumOf(all))).toMatch(/^\d+ passed, \d+ failed, \d+ skipped$/);
    }),
  );
});
