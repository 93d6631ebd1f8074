/**
 * @file What a GPU measured, into measured.json, for simulate.ts to compare and to fit to.
 *
 *     node --conditions=@mpk/source bench/take.ts [results.json] [a.profile.json …]
 *
 * results.json of `mpk bench --suite decode`: its step times replace those of the shapes listed. Files of
 * `mpk profile SHAPE --steps 16 --out a.json`: their ops replace those of a profile of the same shape, or
 * are added.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { knownShapes } from "@mpk/models";

type Options = Readonly<Record<string, string | number>>;
interface Step {
  readonly shape: string;
  readonly plan?: Options;
  readonly ms: number;
}
interface Measured {
  readonly gpu: string;
  readonly context: number;
  readonly steps: readonly Step[];
  readonly profiles: readonly (Step & { readonly context: number; readonly ops: Options })[];
}
interface Results {
  readonly format: "mpk-bench";
  readonly results: readonly {
    readonly model: string;
    readonly context: number;
    readonly tokensPerStep: number;
    readonly ms: { readonly p50: number };
  }[];
}
interface Cost {
  readonly nanos: number;
}
interface Profiled {
  readonly format: "mpk-profile";
  readonly model: string;
  readonly context: number;
  readonly setting: { readonly maxTokens: number; readonly plan: Options };
  readonly accounts: {
    readonly stepNanos: number;
    readonly byOp: readonly {
      readonly name: string;
      readonly total: Cost;
      readonly parts: { readonly stream: Cost; readonly attention: Cost };
    }[];
  };
  readonly steps: readonly { readonly step: number }[];
}

/** The results that count are behind this many tokens. */
const benchContext = 64;
const path = new URL("./measured.json", import.meta.url);
const read = (from: string | URL): unknown => JSON.parse(readFileSync(from, "utf8"));
const shapeOf = (title: string): string => {
  const found = Object.entries(knownShapes()).find(([, shape]) => shape.title === title)?.[0];
  if (found === undefined) throw new Error(`${title}: no shape of this title`);
  return found;
};
const round = (value: number, digits: number): number => Number(value.toFixed(digits));

function withResults(measured: Measured, { results }: Results): Measured {
  const timed = new Map(results
    .filter(({ context, tokensPerStep }) => context === benchContext && tokensPerStep === 1)
    .map(({ model, ms }) => [shapeOf(model), round(ms.p50, 3)]));
  return {
    ...measured,
    steps: measured.steps.map((step) => step.plan === undefined
      ? { ...step, ms: timed.get(step.shape) ?? step.ms }
      : step),
  };
}

function withProfile(measured: Measured, { model, context, setting, accounts, steps }: Profiled): Measured {
  const shape = shapeOf(model);
  const middle = steps.reduce((sum, { step }) => sum + step, 0) / steps.length;
  const promptSteps = Math.ceil(context / setting.maxTokens);
  const ops = accounts.byOp
    .filter(({ parts }) => parts.stream.nanos + parts.attention.nanos > 0)
    .toSorted((a, b) => b.total.nanos - a.total.nanos)
    .map(({ name, total }) => [name, round(total.nanos / 1e3, 1)]);
  const taken = {
    shape, ...(Object.keys(setting.plan).length > 0 ? { plan: setting.plan } : {}),
    ms: round(accounts.stepNanos / 1e6, 4),
    context: Math.round(context + 1 + middle - promptSteps),
    ops: Object.fromEntries(ops) as Options,
  };
  const at = measured.profiles.findIndex((one) => one.shape === shape);
  return {
    ...measured,
    profiles: at < 0 ? [...measured.profiles, taken] : measured.profiles.with(at, taken),
  };
}

/** One entry a line. */
const lines = (list: readonly object[]): string =>
  list.map((one) => `    ${JSON.stringify(one)}`).join(",\n");

let measured = read(path) as Measured;
for (const file of process.argv.slice(2)) {
  const found = read(file) as Results | Profiled;
  measured = found.format === "mpk-bench" ? withResults(measured, found) : withProfile(measured, found);
}
const { gpu, context, steps, profiles } = measured;
writeFileSync(path, `{
  "gpu": ${JSON.stringify(gpu)},
  "context": ${context},
  "steps": [
${lines(steps)}
  ],
  "profiles": [
${lines(profiles)}
  ]
}
`);
