/** @file Benchmark results as text and as a Markdown table. Pure. */
import { isMeasured, shareOfLimit, withoutRepeats, type BenchFile, type BenchResult } from "./result.ts";

const ms = (value: number | null): string => (value === null ? "–" : value.toFixed(3));
const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const count = (value: number): string => value.toLocaleString("en-US");

const torchText = ({ torch }: BenchResult): string =>
  isMeasured(torch) ? torch.msPerToken.toFixed(3) : "not measured";

function fidelityText({ fidelity: f }: BenchResult): string {
  if (!isMeasured(f)) return "not measured";
  const told = `${f.ratio.toFixed(2)} × bf16's error, ${f.wrong} of ${f.mustAgree} wrong`;
  return f.passed ? told : `${told}: FAILED`;
}

const sizeText = ({ tokensPerStep }: BenchResult): string =>
  tokensPerStep === 1 ? "token" : `step of ${tokensPerStep} tokens`;

/** One result in a few lines. */
export function resultText(result: BenchResult): string {
  const { model, context, floorMs, reruns, rerunsEqual, promptStep, probeBytesPerSecond } = result;
  const per = sizeText(result);
  const { p50, p99, worst, count: steps } = result.ms;
  const tokensPerSecond = (1000 / p50) * result.tokensPerStep;
  const gone = p99 === null ? "" : ` (${(p99 / p50).toFixed(3)} × p50)`;
  const prompt = promptStep === null
    ? ""
    : `  prompt step    ${ms(promptStep.ms)} ms for ${promptStep.tokens} tokens\n`;
  const probe = probeBytesPerSecond === null
    ? "not measured"
    : `${(probeBytesPerSecond / 1e12).toFixed(2)} TB/s in this run`;
  return (
    `${model}, context ${count(context)}\n` +
    `  per ${per}: p50 ${ms(p50)} ms, p99 ${ms(p99)}${gone}, worst ${ms(worst)}` +
    ` of ${steps === null ? "?" : count(steps)}; by events ${ms(result.eventMs)}\n` +
    lateText(result) + longText(result) +
    `  speed          ${tokensPerSecond.toFixed(1)} tokens/s\n` +
    `  of the limit   ${percent(shareOfLimit(result))}: floor ${ms(floorMs)} ms ` +
    `(${count(result.weightBytes)} bytes of weights, ${count(result.cacheBytes)} of cache, ` +
    `${(result.limitBytesPerSecond / 1e12).toFixed(2)} TB/s; probe: ${probe})\n` +
    `  first token    ${ms(result.firstTokenMs)} ms after the launch\n${prompt}` +
    `  reruns         ${rerunsEqual} of ${reruns} equal${unequalText(result)}${logitText(result)}\n` +
    `  fidelity       ${fidelityText(result)}${why(result.fidelity)}\n` +
    `  PyTorch        ${torchText(result)}${isMeasured(result.torch) ? " ms" : why(result.torch)}\n` +
    secondsText(result)
  );
}

const logitText = ({ logitReruns: again }: BenchResult): string =>
  again === undefined ? "" : `; all logits of ${again.equal} of ${again.launches} equal to the last bit`;

function unequalText({ unequal = [] }: BenchResult): string {
  if (unequal.length === 0) return "";
  return `: ${unequal.map(({ launch, token }) => `launch ${launch} from token ${token} on`).join(", ")}`;
}

/** What positions cost, and what is late beside that. */
function lateText({ late, byPosition = [] }: BenchResult): string {
  if (late === undefined || byPosition.length === 0) return "";
  const quarters = [0, 1, 2, 3, 4].map((i) => Math.round((i * (byPosition.length - 1)) / 4));
  const times = quarters.map((at) => ms(byPosition[at] ?? 0)).join(", ");
  return (
    `  by position    ${times} ms from the first step to the last; ` +
    `beside that p99 ${late.p99.toFixed(3)} × its position's median, ` +
    `worst ${late.worst.toFixed(3)}\n`
  );
}

function longText({ long }: BenchResult): string {
  if (long === undefined || long === null) return "";
  const { p50, p99, worst } = long.ms;
  return (
    `  in one launch  ${count(long.tokens)} tokens: p50 ${ms(p50)} ms, p99 ${ms(p99)}, ` +
    `worst ${ms(worst)}; first hundred ${ms(long.firstHundredMs)}, ` +
    `last hundred ${ms(long.lastHundredMs)}\n`
  );
}

function secondsText({ seconds }: BenchResult): string {
  if (seconds === undefined) return "";
  const parts = Object.entries(seconds).map(([part, value]) => `${part} ${value.toFixed(1)}`);
  return `  this took      ${parts.join(", ")} s\n`;
}

const why = (value: object): string =>
  "notMeasured" in value ? `: ${String(value.notMeasured)}` : "";

type Column = readonly [head: string, cell: (result: BenchResult) => string];

const times = (value: number | null | undefined, of: number): string =>
  typeof value === "number" ? (value / of).toFixed(3) : "–";

const shape: Column = ["shape", ({ model }) => model];
const context: Column = ["context", (result) => count(result.context)];
const floor: Column = ["floor ms", ({ floorMs }) => ms(floorMs)];
const limit: Column = ["of the limit", (result) => percent(shareOfLimit(result))];
const checked: readonly Column[] = [
  ["fidelity", fidelityText], ["reruns equal", ({ rerunsEqual, reruns, logitReruns: again }) => {
    const logits = again === undefined ? "" : `, logits ${again.equal} of ${again.launches}`;
    return `${rerunsEqual} of ${reruns}${logits}`;
  }],
];

const oneToken: readonly Column[] = [
  shape, context, ["bytes a step", (r) => count(r.weightBytes + r.cacheBytes)], floor,
  ["**ms per token** (p50)", (r) => `**${ms(r.ms.p50)}**`],
  ["p99 ÷ p50", (r) => times(r.ms.p99, r.ms.p50)], ["worst ÷ p50", (r) => times(r.ms.worst, r.ms.p50)],
  ["late p99", (r) => (r.late === undefined ? "–" : r.late.p99.toFixed(3))],
  ["events", (r) => ms(r.eventMs)], limit, ["PyTorch ms", torchText], ...checked,
];

const oneLaunch: readonly Column[] = [
  shape, ["context", (r) => `${count(r.context)} to ${count(r.context + (r.long?.tokens ?? 0))}`],
  ["tokens", (r) => count(r.long?.tokens ?? 0)], ["p50 ms", (r) => ms(r.long?.ms.p50 ?? null)],
  ["p99 ms", (r) => ms(r.long?.ms.p99 ?? null)], ["worst ms", (r) => ms(r.long?.ms.worst ?? null)],
  ["first hundred ms", (r) => ms(r.long?.firstHundredMs ?? null)],
  ["last hundred ms", (r) => ms(r.long?.lastHundredMs ?? null)],
];

const manyTokens: readonly Column[] = [
  shape, context, ["tokens a step", ({ tokensPerStep }) => count(tokensPerStep)], floor,
  ["**ms per step** (p50)", (r) => `**${ms(r.ms.p50)}**`], ["p99 ÷ p50", (r) => times(r.ms.p99, r.ms.p50)],
  ["ms per token", (r) => ms(r.ms.p50 / r.tokensPerStep)], limit, ...checked,
];

const prompts: readonly Column[] = [
  shape, ["prompt", (r) => count(r.context)], ["tokens a step", (r) => count(r.promptStep?.tokens ?? 0)],
  ["**first token ms**", (r) => `**${ms(r.firstTokenMs)}**`],
  ["prompt tokens a second", (r) => count(Math.round((1000 * r.context) / (r.firstTokenMs ?? Infinity)))],
  ["ms per prompt step", (r) => ms(r.promptStep?.ms ?? null)], ["ms per token after it", (r) => ms(r.ms.p50)],
];

/** A prompt so long that its time is told. */
const longPrompt = 512;

type Rows = (results: readonly BenchResult[]) => readonly BenchResult[];

const tables: readonly (readonly [rows: Rows, columns: readonly Column[]])[] = [
  [(all) => withoutRepeats(all).filter(({ tokensPerStep }) => tokensPerStep === 1), oneToken],
  [(all) => all.filter(({ long }) => long !== undefined && long !== null), oneLaunch],
  [(all) => all.filter(({ tokensPerStep }) => tokensPerStep > 1), manyTokens],
  [(all) => all.filter(({ tokensPerStep, context: length, promptStep }) =>
    tokensPerStep === 1 && length > longPrompt && promptStep !== null), prompts],
];

/** Where results are of several GPUs or programs, each says of which it is. */
function originColumns({ results }: BenchFile): readonly Column[] {
  const several = (field: "gpu" | "commit"): readonly Column[] => {
    const found = [...new Set(results.map(({ origin }) => origin?.[field] ?? "unknown"))];
    if (found.length < 2) return [];
    const name = (value: string) => (field === "gpu" ? `no. ${found.indexOf(value) + 1}` : value);
    return [[field === "gpu" ? "GPU" : field, ({ origin }) => name(origin?.[field] ?? "unknown")]];
  };
  return [...several("gpu"), ...several("commit")];
}

/** The tables of docs/performance.md: one-token steps, long launches, steps of many tokens, prompts. */
export function markdownTable(file: BenchFile): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const extra = originColumns(file);
  return tables.flatMap(([rowsOf, own]) => {
    const rows = rowsOf(file.results);
    if (rows.length === 0) return [];
    const columns = [...own, ...extra];
    const head = line(columns.map(([name]) => name)) + `|${"---|".repeat(columns.length)}\n`;
    return [head + rows.map((row) => line(columns.map(([, cell]) => cell(row)))).join("")];
  }).join("\n");
}

/** The generated part of docs/performance.md: where and how it was measured, then the tables. */
export function resultsPart(file: BenchFile): string {
  const commits = new Set(file.results.map(({ origin }) => origin?.commit ?? file.commit));
  const of = commits.size === 1 ? `commit ${[...commits][0] ?? "unknown"}` : "several commits";
  return `${file.machine}, ${of}, \`${file.command}\`:\n\n${markdownTable(file)}`;
}

/** Markers of a generated part of a page, by name. */
const marker = (name: string, end: boolean): string =>
  `<!-- ${end ? "end" : "begin"} ${name} -->`;

/**
 * The page with what lies between a part's markers replaced.
 * @throws RangeError where the markers are missing or more than one pair.
 */
export function replacePart(page: string, name: string, text: string): string {
  const [begin, end] = [marker(name, false), marker(name, true)];
  const pieces = page.split(begin);
  const [before = "", rest = ""] = pieces;
  const after = rest.split(end);
  if (pieces.length !== 2 || after.length !== 2) {
    throw new RangeError(`the page needs one pair of markers: ${begin} … ${end}`);
  }
  return `${before}${begin}\n${text.trim()}\n${end}${after[1] ?? ""}`;
}
