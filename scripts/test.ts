/**
 * @file The whole test command: typecheck, lint, then the test files of every tier this machine can
 * run. `--long` runs the slow files instead, one by one, within MPK_LONG_SECONDS. The last line is
 * always `N passed, N failed, N skipped`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { detectTiers, tierOf, type TierName } from "./tiers.ts";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The parts read of vitest's JSON report. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly startTime: number;
    readonly endTime: number;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const text = (c: Counts): string => `${c.passed} passed, ${c.failed} failed, ${c.skipped} skipped`;
const secondsSince = (start: number): string => `${((Date.now() - start) / 1000).toFixed(1)} s`;

function testFiles(long: boolean): readonly string[] {
  const all = globSync("{packages/*/{src,test},examples,docs,scripts}/**/*.test.ts", {
    cwd: root,
    exclude: (path) => path.includes("node_modules") || path.includes("dist"),
  });
  return all.filter((file) => file.endsWith(".long.test.ts") === long).sort();
}

/** Runs one command with its output shown; true if it succeeded. */
function check(name: string, command: string, args: readonly string[]): boolean {
  say(`\n${name}`);
  const start = Date.now();
  const ok = spawnSync(command, args, { cwd: root, stdio: "inherit" }).status === 0;
  say(`${name} ${ok ? "passed" : "FAILED"} in ${secondsSince(start)}`);
  return ok;
}

/** Runs vitest over the files given (all, if none) and adds its counts to their tiers'. */
function vitest(
  files: readonly string[],
  counts: Record<TierName, Counts>,
  timeoutSeconds: number | null,
): void {
  const folder = mkdtempSync(join(tmpdir(), "mpk-test-"));
  const output = join(folder, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${output}`];
  const run = spawnSync(bin("vitest"), ["run", ...reporters, ...files], {
    cwd: root,
    stdio: "inherit",
    ...(timeoutSeconds === null ? {} : { timeout: Math.ceil(timeoutSeconds * 1000) }),
  });
  const report = existsSync(output)
    ? (JSON.parse(readFileSync(output, "utf8")) as Report)
    : { testResults: [] };
  rmSync(folder, { recursive: true, force: true });
  const millis = (file: Report["testResults"][number]): number => file.endTime - file.startTime;
  const slowest = [...report.testResults].sort((a, b) => millis(b) - millis(a)).slice(0, 5);
  const times = slowest.map((f) => `${relative(root, f.name)} ${(millis(f) / 1000).toFixed(0)} s`);
  if (times.length > 1) say(`slowest: ${times.join(", ")}`);
  let failed = 0;
  for (const file of report.testResults) {
    const count = counts[tierOf(file.name)];
    const before = count.failed;
    for (const { status } of file.assertionResults) {
      if (status === "passed") count.passed++;
      else if (status === "failed") count.failed++;
      else count.skipped++;
    }
    // A file that does not load, or whose hooks fail, has no failed test of its own.
    if (file.status === "failed" && count.failed === before) {
      say(`${relative(root, file.name)}: failed outside its tests`);
      count.failed++;
    }
    failed += count.failed - before;
  }
  if (run.error !== undefined && "code" in run.error && run.error.code === "ETIMEDOUT") {
    say(`not finished in ${timeoutSeconds} s: ${files.join(", ")}`);
    for (const file of files) counts[tierOf(file)].skipped++;
    return;
  }
  if (run.status !== 0 && failed === 0) {
    say(run.signal === null ? "vitest failed outside the tests" : `stopped: ${run.signal}`);
    counts.unit.failed++;
  }
}

/** Slow files, one process each, until the time is spent; the rest is skipped by name. */
function runLong(files: readonly string[], counts: Record<TierName, Counts>): void {
  const budget = Number(process.env["MPK_LONG_SECONDS"] ?? "3600");
  const start = Date.now();
  process.env["MPK_LONG"] = "1";
  for (const file of files) {
    const left = budget - (Date.now() - start) / 1000;
    if (left > 0) vitest([file], counts, Math.max(left, 60));
    else {
      say(`not run, the ${budget} s of MPK_LONG_SECONDS are spent: ${file}`);
      counts[tierOf(file)].skipped++;
    }
  }
}

function main(args: readonly string[]): number {
  const unknown = args.find((arg) => arg !== "--long");
  if (unknown !== undefined) {
    say(`scripts/test.ts: unknown argument ${unknown}; expected nothing or --long`);
    return 2;
  }
  const long = args.includes("--long");
  const start = Date.now();
  const counts: Record<TierName, Counts> = {
    unit: { passed: 0, failed: 0, skipped: 0 },
    spin: { passed: 0, failed: 0, skipped: 0 },
    emu: { passed: 0, failed: 0, skipped: 0 },
    nvcc: { passed: 0, failed: 0, skipped: 0 },
    gpu: { passed: 0, failed: 0, skipped: 0 },
  };
  const checks: Counts = { passed: 0, failed: 0, skipped: 0 };
  const files = testFiles(long);
  const tiers = detectTiers();
  const missing = new Set(tiers.filter((t) => t.missing !== null).map((t) => t.name));
  const runnable = files.filter((file) => !missing.has(tierOf(file)));
  if (long) runLong(runnable, counts);
  else {
    checks[check("typecheck", bin("tsc"), ["-p", "tsconfig.json"]) ? "passed" : "failed"]++;
    checks[check("lint", bin("oxlint"), ["--deny-warnings"]) ? "passed" : "failed"]++;
    vitest([], counts, null);
  }

  say("");
  if (!long) say(`checks: ${text(checks)} (typecheck, lint)`);
  for (const { name, missing: why } of tiers) {
    const own = files.filter((file) => tierOf(file) === name).length;
    if (why !== null) counts[name].skipped += own;
    say(`${name}: ${why === null ? text(counts[name]) : `${own} test files not run, ${why}`}`);
  }
  const all = [checks, ...Object.values(counts)];
  const sum = (key: keyof Counts): number => all.reduce((total, c) => total + c[key], 0);
  const total = { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
  say(`took ${secondsSince(start)}`);
  say(text(total));
  return total.failed === 0 && (total.passed > 0 || files.length === 0) ? 0 : 1;
}

process.exitCode = main(process.argv.slice(2));
