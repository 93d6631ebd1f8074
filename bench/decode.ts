/**
 * @file Times single-stream decoding of one checkpoint on the GPU, inside one launch.
 *
 *     node --conditions=@mpk/source bench/decode.ts CHECKPOINT [--tokens 128] [--reruns 20]
 *       [--prompt-tokens 32] [--max-context 512] [--logits PREFIX] [--plan '{"protocol":"flag"}']
 *
 * Prints one JSON object. With `--logits PREFIX` it writes PREFIX.json (prompt and tokens) and
 * PREFIX.f32 (the logits of every generated token) for fidelity.py.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { open, type Opened } from "@mpk/compiler";
import type { PlanOptions } from "@mpk/schedule";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "128" },
    reruns: { type: "string", default: "20" },
    "prompt-tokens": { type: "string", default: "32" },
    "max-context": { type: "string", default: "512" },
    logits: { type: "string" },
    // The planner's options (PlanOptions of @mpk/schedule), as JSON.
    plan: { type: "string", default: "{}" },
  },
});
const [checkpoint] = positionals;
if (checkpoint === undefined) throw new Error("name a checkpoint folder");
const maxTokens = Number(values.tokens);
const reruns = Number(values.reruns);
const plan = JSON.parse(values.plan) as PlanOptions;

async function generate(opened: Opened, promptIds: readonly number[], logits: "none" | "all") {
  const request = { promptIds, maxTokens, eosIds: [], stamps: true, logits } as const;
  const generation = opened.session.generate(request);
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  return { tokens, summary: generation.summary() };
}

/** Value below which `share` of the sorted numbers lie. */
const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

const started = performance.now();
const opened = await open(checkpoint, {
  device: "cuda",
  maxContext: Number(values["max-context"]),
  plan,
});
const openMillis = performance.now() - started;
const { vocab } = opened.session.limits;
const length = Number(values["prompt-tokens"]);
const promptIds = Array.from({ length }, (_, i) => (i * 7919 + 13) % vocab);

const first = await generate(opened, promptIds, "all");
if (values.logits !== undefined) {
  const rows = first.summary.logits;
  writeFileSync(`${values.logits}.f32`, Buffer.concat(rows.map((row) => Buffer.from(row.buffer))));
  const run = { prompt: promptIds, tokens: first.tokens };
  writeFileSync(`${values.logits}.json`, JSON.stringify(run));
}

const steps: number[] = [];
const events: number[] = [];
let equal = 0;
let promptStep = 0;
for (let i = 0; i < reruns; i++) {
  const { tokens, summary } = await generate(opened, promptIds, "none");
  if (tokens.every((id, at) => id === first.tokens[at])) equal++;
  const stamps = summary.stampNanos.map(Number);
  const promptSteps = summary.steps - tokens.length + 1;
  // Steps of one token each, those after the prompt.
  for (let at = promptSteps; at < stamps.length; at++) {
    steps.push(((stamps[at] ?? 0) - (stamps[at - 1] ?? 0)) / 1e6);
  }
  promptStep = ((stamps[promptSteps - 1] ?? 0) - (stamps[0] ?? 0)) / 1e6 / (promptSteps - 1);
  // The launch's event time, less its prompt steps, over its tokens.
  events.push((summary.millis - promptStep * promptSteps) / (tokens.length - 1));
}
steps.sort((a, b) => a - b);
events.sort((a, b) => a - b);
const { manifest, report } = opened.compiled;
console.log(
  JSON.stringify({
    checkpoint,
    device: opened.session.device.name,
    plan,
    openMillis,
    compileMillis: report.millis,
    promptTokens: length,
    tokens: maxTokens,
    msPerToken: {
      p50: quantile(steps, 0.5),
      p99: quantile(steps, 0.99),
      worst: steps.at(-1),
      fastest: steps[0],
    },
    eventMsPerToken: quantile(events, 0.5),
    promptStepMillis: promptStep,
    promptTokensPerStep: manifest?.limits.maxTokens,
    streamedBytes: manifest?.streamedBytesPerStep,
    reruns,
    rerunsEqual: equal,
  }),
);
await opened.close();
