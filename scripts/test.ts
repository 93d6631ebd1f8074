/**
 * @file The whole test command: typecheck, lint, then the test files of every tier this machine can
 * run. `--long` runs the slow files instead, one by one, within MPK_LONG_SECONDS; `--emulated` those of
 * them that CI runs whole. The last line is always `N passed, N failed, N skipped`.
 */
import { globSync } from "node:fs";
import { join } from "node:path";
import {
  type Counts, countsText, longBudget, noCounts, runChild, runLong, runVitest, sumOf, type TierCounts,
} from "./runs.ts";
import { detectTiers, tierOf } from "./tiers.ts";

const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const secondsSince = (start: number): string => `${((Date.now() - start) / 1000).toFixed(1)} s`;

/** The emitted source on the CPU: every op, family, target and planted fault, in many schedules. */
const emulated = ["wide", "mutations", "flagged", "watched", "emulated"].map((name) => `${name}.emu`);
/** They take all processors for about ten minutes; a machine that needs longer is stuck. */
const emulatedSeconds = 2700;

/** Slow files that take many minutes each: they come last, so that a short time runs many files. */
const slowest = ["agreement.spin", "models.nvcc", ...emulated];
const slowness = (file: string): number =>
  slowest.findIndex((name) => file.endsWith(`/${name}.long.test.ts`));

function testFiles(long: boolean): readonly string[] {
  const all = globSync("{packages/*/{src,test},examples,docs,scripts}/**/*.test.ts", {
    cwd: root,
    exclude: (path) => path.includes("node_modules") || path.includes("dist"),
  });
  return all.filter((file) => file.endsWith(".long.test.ts") === long).sort()
    .sort((a, b) => slowness(a) - slowness(b));
}

/** Runs one command with its output shown; true if it succeeded. */
async function check(name: string, command: string, args: readonly string[]): Promise<boolean> {
  say(`\n${name}`);
  const start = Date.now();
  const { code } = await runChild(command, args, { cwd: root, seconds: null });
  say(`${name} ${code === 0 ? "passed" : "FAILED"} in ${secondsSince(start)}`);
  return code === 0;
}

/** Runs vitest over the files given, all if none. */
const vitest = (files: readonly string[], seconds: number | null, counts: TierCounts) =>
  runVitest({ vitest: bin("vitest"), root, files, seconds }, counts, say);

async function main(args: readonly string[]): Promise<number> {
  const modes = ["--long", "--emulated"];
  const [mode, ...more] = args;
  if (more.length > 0 || (mode !== undefined && !modes.includes(mode))) {
    say(`scripts/test.ts: unknown arguments ${args.join(" ")}; expected nothing or one of ${modes.join(", ")}`);
    return 2;
  }
  const long = mode !== undefined;
  const start = Date.now();
  const budget = longBudget(process.env["MPK_LONG_SECONDS"]);
  if (budget === null) {
    say(`MPK_LONG_SECONDS is ${process.env["MPK_LONG_SECONDS"]}, expected a number of seconds`);
    return 2;
  }
  const counts = noCounts();
  const checks: Counts = { passed: 0, failed: 0, skipped: 0 };
  const files = testFiles(long).filter((file) =>
    mode !== "--emulated" || emulated.some((name) => file.endsWith(`/${name}.long.test.ts`)));
  const tiers = detectTiers();
  const missing = new Set(tiers.filter((t) => t.missing !== null).map((t) => t.name));
  const runnable = files.filter((file) => !missing.has(tierOf(file)));
  if (mode === "--emulated") {
    process.env["MPK_LONG"] = "1";
    if (runnable.length > 0) await vitest(runnable, emulatedSeconds, counts);
  } else if (long) {
    process.env["MPK_LONG"] = "1";
    const one = (file: string, seconds: number) => vitest([file], seconds, counts);
    await runLong(runnable, budget, counts, one, say);
  } else {
    checks[(await check("typecheck", bin("tsc"), ["-p", "tsconfig.json"])) ? "passed" : "failed"]++;
    checks[(await check("lint", bin("oxlint"), ["--deny-warnings"])) ? "passed" : "failed"]++;
    await vitest([], null, counts);
  }

  say("");
  if (!long) say(`checks: ${countsText(checks)} (typecheck, lint)`);
  for (const { name, missing: why } of tiers) {
    const own = files.filter((file) => tierOf(file) === name).length;
    if (mode === "--emulated" && own === 0) continue;
    if (why !== null) counts[name].skipped += own;
    say(`${name}: ${why === null ? countsText(counts[name]) : `${own} test files not run, ${why}`}`);
  }
  const total = sumOf([checks, ...Object.values(counts)]);
  say(`took ${secondsSince(start)}`);
  say(countsText(total));
  // Slow files may all be cut off by the time given, which is said above.
  return total.failed === 0 && (total.passed > 0 || long) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
