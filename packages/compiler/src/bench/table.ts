/** @file Benchmark results as text and as a Markdown table. Pure. */
import { isMeasured, shareOfLimit, type BenchFile, type BenchResult } from "./result.ts";

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
    `  reruns         ${rerunsEqual} of ${reruns} equal\n` +
    `  fidelity       ${fidelityText(result)}${why(result.fidelity)}\n` +
    `  PyTorch        ${torchText(result)}${isMeasured(result.torch) ? " ms" : why(result.torch)}\n` +
    secondsText(result)
  );
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

const head = [
  "shape", "context", "bytes a step", "floor ms", "**ms per token** (p50)", "p99", "events",
  "of the limit", "PyTorch ms", "fidelity", "reruns equal",
] as const;

/** Rows of the table of docs/performance.md. */
export function markdownTable({ results }: BenchFile): string {
  const rows = results.map((result) => [
    result.tokensPerStep === 1 ? result.model : `${result.model}, ${sizeText(result)}`,
    count(result.context), count(result.weightBytes + result.cacheBytes), ms(result.floorMs),
    `**${ms(result.ms.p50)}**`, ms(result.ms.p99), ms(result.eventMs),
    percent(shareOfLimit(result)), torchText(result), fidelityText(result),
    `${result.rerunsEqual} of ${result.reruns}`,
  ]);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return line(head) + `|${"---|".repeat(head.length)}\n` + rows.map(line).join("");
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
