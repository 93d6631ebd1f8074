/**
 * @file What makes the compiler trustworthy, tried by one command, with a table at the end:
 *
 *     node scripts/trust.ts            what CI runs of it, minutes
 *     node scripts/trust.ts --long     the long versions, within MPK_LONG_SECONDS
 *     node scripts/trust.ts --gpu CHECKPOINT   faults, reruns and a soak on the GPU at hand
 *
 * The last line is `N passed, N failed, N skipped`.
 */
import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import {
  type Counts, countsText, longBudget, noCounts, runChild, runVitest, sumOf,
} from "./runs.ts";
import { detectTiers, tierOf } from "./tiers.ts";

export interface Part {
  readonly name: string;
  /** Test files that CI runs, and slow ones. */
  readonly quick: readonly string[];
  readonly long: readonly string[];
  /** Arguments of `mpk` on a GPU; CHECKPOINT stands for the folder. */
  readonly gpu?: readonly string[];
}

const root = join(import.meta.dirname, "..");
const found = (pattern: string): readonly string[] => globSync(pattern, { cwd: root }).sort();
const schedule = (...names: readonly string[]) => names.map((n) => `packages/schedule/test/${n}.test.ts`);
const compiler = (...names: readonly string[]) => names.map((n) => `packages/compiler/test/${n}.test.ts`);
const runtime = (...names: readonly string[]) => names.map((n) => `packages/runtime/test/${n}.test.ts`);
const cuda = (...names: readonly string[]) => names.map((n) => `packages/cuda/test/${n}.test.ts`);

/** The seven, in the order of docs/reliability.md. */
export const parts: readonly Part[] = [
  {
    name: "the verifier",
    quick: [
      ...schedule("verify", "exact", "laws", "mutations", "counterexample", "ring", "flags"),
      ...compiler("speed"), ...cuda("emitted", "memory"), "packages/ops/test/ranks.test.ts",
    ],
    long: compiler("ranks.long"),
  },
  {
    name: "the second opinion: SPIN",
    quick: [...schedule("agreement.spin", "protocols.spin"), ...compiler("promela.spin")],
    long: schedule("agreement.spin.long", "protocols.spin.long"),
  },
  {
    name: "the emitted source on the CPU",
    quick: found("packages/compiler/test/*.emu.test.ts"),
    long: found("packages/compiler/test/*.emu.long.test.ts"),
  },
  {
    name: "faults at run time",
    quick: [
      ...runtime("faults.emu", "lost.emu", "cuda.emu", "driver", "files", "cache", "culprit"),
      ...compiler("endurance/faults.emu", "open"),
    ],
    long: runtime("faults.emu.long"),
    gpu: ["faults", "CHECKPOINT"],
  },
  {
    name: "untrusted input",
    quick: [...compiler("untrusted"), ...cuda("untrusted.emu"), "packages/cli/test/hostile-names.test.ts"],
    long: [...compiler("untrusted.long"), ...cuda("untrusted.emu.long")],
  },
  {
    name: "determinism",
    quick: compiler("endurance/determinism"),
    long: [],
    gpu: ["repeat", "CHECKPOINT", "--reruns", "1000"],
  },
  {
    name: "soak",
    quick: [...compiler("endurance/soak"), "packages/cli/test/soak.test.ts"],
    long: compiler("endurance/soak.emu.long"),
    gpu: ["soak", "CHECKPOINT", "--minutes", "7.5", "--state", "soak.json"],
  },
];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Row extends Counts {
  readonly name: string;
  readonly seconds: number;
  readonly note: string;
}

/** Runs one part's test files; those of tiers that this machine lacks are counted as skipped. */
async function runTests(part: Part, files: readonly string[], seconds: number | null): Promise<Row> {
  const missing = detectTiers().filter((tier) => tier.missing !== null);
  const why = (file: string) => missing.find(({ name }) => name === tierOf(file))?.missing ?? null;
  const runnable = files.filter((file) => why(file) === null);
  const start = Date.now();
  const counts = noCounts();
  if (runnable.length > 0) {
    const vitest = join(root, "node_modules", ".bin", "vitest");
    await runVitest({ vitest, root, files: runnable, seconds }, counts, say);
  }
  const sum = sumOf(Object.values(counts));
  const notRun = files.filter((file) => !runnable.includes(file));
  const reasons = [...new Set(notRun.map(why))].join("; ");
  return {
    ...sum, skipped: sum.skipped + notRun.length, name: part.name, seconds: (Date.now() - start) / 1000,
    note: reasons === "" ? "" : `${notRun.length} files not run: ${reasons}`,
  };
}

async function runOnGpu(part: Part, args: readonly string[], checkpoint: string): Promise<Row> {
  const command = ["--conditions=@mpk/source", "--disable-warning=ExperimentalWarning",
    "packages/cli/src/main.ts", ...args.map((each) => (each === "CHECKPOINT" ? checkpoint : each))];
  const start = Date.now();
  const { code } = await runChild(process.execPath, command, { cwd: root, seconds: null });
  const passed = code === 0 ? 1 : 0;
  return {
    name: part.name, passed, failed: 1 - passed, skipped: 0, seconds: (Date.now() - start) / 1000,
    note: `mpk ${args.join(" ")}`,
  };
}

function sayTable(rows: readonly Row[]): void {
  say("\n| | passed | failed | skipped | seconds | |\n|---|---|---|---|---|---|");
  for (const { name, passed, failed, skipped, seconds, note } of rows) {
    say(`| ${name} | ${passed} | ${failed} | ${skipped} | ${seconds.toFixed(0)} | ${note} |`);
  }
  say(countsText(sumOf(rows)));
}

async function main(args: readonly string[]): Promise<number> {
  const [mode, checkpoint, ...rest] = args;
  const known = mode === undefined || mode === "--long" ? checkpoint === undefined : mode === "--gpu";
  const budget = longBudget(process.env["MPK_LONG_SECONDS"]);
  if (!known || rest.length > 0 || budget === null || (mode === "--gpu" && !existsSync(checkpoint ?? ""))) {
    say("usage: node scripts/trust.ts [--long | --gpu CHECKPOINT]; MPK_LONG_SECONDS is a number");
    return 2;
  }
  const rows: Row[] = [];
  if (mode === "--long") process.env["MPK_LONG"] = "1";
  const end = Date.now() + 1000 * budget;
  for (const [i, part] of parts.entries()) {
    if (mode === "--gpu") {
      if (part.gpu !== undefined) rows.push(await runOnGpu(part, part.gpu, checkpoint ?? ""));
      continue;
    }
    say(`\n${part.name}`);
    // What one part does not need, those after it have.
    const left = Math.max(60, (end - Date.now()) / 1000 / (parts.length - i));
    const files = mode === "--long" ? part.long : part.quick;
    rows.push(await runTests(part, files, mode === "--long" ? left : null));
  }
  sayTable(rows);
  return rows.some(({ failed }) => failed > 0) ? 1 : 0;
}

if (process.argv[1] === import.meta.filename) process.exitCode = await main(process.argv.slice(2));
