/**
 * @file Running test files: a child process that always ends, what its report counts, and the slow
 * files one by one within their time.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { tierOf, type TierName } from "./tiers.ts";

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export type TierCounts = Record<TierName, Counts>;

const none = (): Counts => ({ passed: 0, failed: 0, skipped: 0 });

export const noCounts = (): TierCounts => ({
  unit: none(), spin: none(), browser: none(), emu: none(), nvcc: none(), gpu: none(),
});

/** The closing line; nothing may follow it. */
export const countsText = (c: Counts): string =>
  `${c.passed} passed, ${c.failed} failed, ${c.skipped} skipped`;

export const sumOf = (all: readonly Counts[]): Counts =>
  all.reduce((sum, c) => ({
    passed: sum.passed + c.passed,
    failed: sum.failed + c.failed,
    skipped: sum.skipped + c.skipped,
  }), none());

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

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
}

/** Timers take whole milliseconds up to 2^31 - 1; at least one. */
export const timerMillis = (seconds: number): number =>
  Math.min(2 ** 31 - 1, Math.max(1, Math.ceil(1000 * seconds)));

export interface ChildOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Null: no limit. */
  readonly seconds: number | null;
  /** From being asked to end to being ended. */
  readonly graceSeconds?: number;
}

/** Runs a command with its output shown. At its time's end it and its children are ended. */
export function runChild(
  command: string,
  args: readonly string[],
  options: ChildOptions,
): Promise<Ended> {
  const { cwd, env = process.env, seconds, graceSeconds = 10 } = options;
  return new Promise((resolve) => {
    // In a group of its own, which may not read the terminal.
    const stdio = ["ignore", "inherit", "inherit"] as const;
    const child = spawn(command, [...args], { cwd, env, stdio: [...stdio], detached: true });
    let timedOut = false;
    const timers: NodeJS.Timeout[] = [];
    // The whole group: a runner's workers must not outlive it.
    const kill = (signal: NodeJS.Signals): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, signal);
      } catch {
        // It has ended.
      }
    };
    const interrupt = (): void => kill("SIGINT");
    const end = (ended: Ended): void => {
      timers.forEach(clearTimeout);
      process.off("SIGINT", interrupt);
      process.off("SIGTERM", interrupt);
      if (timedOut) kill("SIGKILL");
      resolve(ended);
    };
    process.on("SIGINT", interrupt);
    process.on("SIGTERM", interrupt);
    if (seconds !== null) {
      timers.push(setTimeout(() => {
        timedOut = true;
        kill("SIGTERM");
        timers.push(setTimeout(() => kill("SIGKILL"), timerMillis(graceSeconds)));
      }, timerMillis(seconds)));
    }
    child.once("error", () => end({ code: null, signal: null, timedOut }));
    child.once("exit", (code, signal) => end({ code, signal, timedOut }));
  });
}

/** A report as it was written, or null where there is none that can be read. */
function readReport(path: string): Report | null {
  try {
    const report = JSON.parse(readFileSync(path, "utf8")) as Partial<Report> | null;
    return Array.isArray(report?.testResults) ? (report as Report) : null;
  } catch {
    return null;
  }
}

type Say = (line: string) => void;

/** Adds a report to its files' tiers; gives how many failed. */
function tally(report: Report, root: string, counts: TierCounts, say: Say): number {
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
  return failed;
}

function saySlowest(report: Report, root: string, say: Say): void {
  const millis = (file: Report["testResults"][number]): number => file.endTime - file.startTime;
  const slowest = [...report.testResults].sort((a, b) => millis(b) - millis(a)).slice(0, 5);
  const times = slowest.map((f) => `${relative(root, f.name)} ${(millis(f) / 1000).toFixed(0)} s`);
  if (times.length > 1) say(`slowest: ${times.join(", ")}`);
}

export interface VitestRun {
  readonly vitest: string;
  readonly root: string;
  /** All, if none. */
  readonly files: readonly string[];
  /** Null: no limit. */
  readonly seconds: number | null;
  readonly graceSeconds?: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs vitest and adds its counts to their tiers'. What did not finish in time is skipped. */
export async function runVitest(run: VitestRun, counts: TierCounts, say: Say): Promise<void> {
  const { vitest, root, files, ...options } = run;
  const folder = mkdtempSync(join(tmpdir(), "mpk-test-"));
  const output = join(folder, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${output}`];
  const ended = await runChild(vitest, ["run", ...reporters, ...files], { cwd: root, ...options });
  const report = readReport(output);
  rmSync(folder, { recursive: true, force: true });
  if (report !== null) saySlowest(report, root, say);
  const failed = report === null ? 0 : tally(report, root, counts, say);
  if (ended.timedOut) {
    say(`not finished in ${run.seconds} s: ${files.join(", ")}`);
    if (report === null) for (const file of files) counts[tierOf(file)].skipped++;
  } else if (ended.code !== 0 && failed === 0) {
    say(ended.signal === null ? "vitest failed outside the tests" : `stopped: ${ended.signal}`);
    counts.unit.failed++;
  } else if (report === null) {
    say("vitest ended without a report");
    counts.unit.failed++;
  }
}

/** MPK_LONG_SECONDS; an hour where it is not set. Null: it is no number of seconds. */
export function longBudget(text: string | undefined): number | null {
  const seconds = Number(text ?? "3600");
  return text?.trim() !== "" && seconds >= 0 && seconds < Infinity ? seconds : null;
}

/** A file that is begun may take this long, however little is left. */
const leastSeconds = 60;

/** Files one by one until the time is spent; the rest is skipped by name. */
export async function runLong(
  files: readonly string[],
  budgetSeconds: number,
  counts: TierCounts,
  runOne: (file: string, seconds: number) => Promise<void>,
  say: Say,
  now: () => number = Date.now,
): Promise<void> {
  const start = now();
  for (const file of files) {
    const left = budgetSeconds - (now() - start) / 1000;
    if (left > 0) await runOne(file, Math.max(left, leastSeconds));
    else {
      say(`not run, the ${budgetSeconds} s of MPK_LONG_SECONDS are spent: ${file}`);
      counts[tierOf(file)].skipped++;
    }
  }
}
