/** @file Benchmark results as a picture: each time as a multiple of its own floor. Pure. */
import { isMeasured, withoutRepeats, type BenchResult } from "./result.ts";

/** Pixels. */
const layout = {
  width: 720, left: 200, right: 96, top: 64, bar: 16, gap: 3, group: 14, bottom: 44,
} as const;

interface Bar {
  readonly kind: "ours" | "torch";
  readonly label: string;
  readonly ms: number;
}

interface Group {
  readonly title: string;
  readonly floorMs: number;
  readonly bars: readonly Bar[];
}

function groupsOf(results: readonly BenchResult[]): readonly Group[] {
  // What most rows have in common is not said in each.
  const count = (context: number) => results.filter((one) => one.context === context).length;
  const usual = results.map(({ context }) => context).toSorted((a, b) => count(b) - count(a))[0];
  const drawn = withoutRepeats(results);
  return drawn.map((result) => {
    const { model, context, tokensPerStep, floorMs, ms, torch } = result;
    const at = context === usual ? "" : ` at ${context.toLocaleString("en-US")}`;
    const many = tokensPerStep === 1 ? "" : `, ${tokensPerStep} tokens`;
    const beside = isMeasured(torch)
      ? [{ kind: "torch", label: "PyTorch", ms: torch.msPerToken } as const]
      : [];
    const bars = [{ kind: "ours", label: "mpk", ms: ms.p50 } as const, ...beside];
    return { title: `${model}${at}${many}`, floorMs, bars };
  });
}

/** Light, dark and on paper: shapes differ in lightness too, and every bar has its number. */
const style = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1b1f24; }
  .title { font-size: 15px; font-weight: 600; }
  .small { font-size: 11.5px; fill: #57606a; }
  .ours { fill: #0b5cad; stroke: #0b5cad; }
  .torch { fill: #d5dbe1; stroke: #6e7781; }
  .axis { stroke: #8c959f; stroke-width: 1; }
  .grid { stroke: #8c959f; stroke-width: 0.5; stroke-dasharray: 2 3; }
  .floor { stroke: #b3261e; stroke-width: 1.5; }
  @media screen and (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b3; }
    .ours { fill: #6cb6ff; stroke: #6cb6ff; }
    .torch { fill: #3d444d; stroke: #9198a1; }
    .axis, .grid { stroke: #6e7681; }
    .floor { stroke: #ff8078; }
  }`;

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

const round = (value: number): number => Math.round(value * 10) / 10;

/** Whole multiples at which the axis has a line. */
function ticksTo(most: number): readonly number[] {
  const step = [1, 2, 5, 10, 20, 50, 100].find((each) => most / each <= 8) ?? 200;
  const count = Math.floor(most / step);
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

/**
 * The chart as an SVG file's text: a group of bars for each result, its floor at 1.
 * @throws RangeError for no results.
 */
export function chartOf(title: string, results: readonly BenchResult[]): string {
  const groups = groupsOf(results);
  if (groups.length === 0) throw new RangeError("a chart of no results");
  const { width, left, right, top, bar, gap, group: between, bottom } = layout;
  const most = Math.max(1, ...groups.flatMap((g) => g.bars.map(({ ms }) => ms / g.floorMs))) * 1.02;
  const x = (multiple: number) => round(left + (multiple / most) * (width - left - right));
  const heights = groups.map(({ bars }) => bars.length * (bar + gap) + between);
  const end = top + heights.reduce((a, b) => a + b, 0);
  let y = top;
  const drawn = groups.map((group, i) => {
    const text = drawGroup(group, y, x);
    y += heights[i] ?? 0;
    return text;
  });
  const lines = ticksTo(most).filter((tick) => tick !== 1).map((tick) =>
    `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${top - 6}" y2="${end}"/>` +
    `<text class="small" x="${x(tick)}" y="${end + 16}" text-anchor="middle">${tick}×</text>`);
  const floor =
    `<line class="floor" x1="${x(1)}" x2="${x(1)}" y1="${top - 10}" y2="${end}"/>` +
    `<text class="small" x="${x(1)}" y="${top - 14}" text-anchor="middle">1× = memory's limit</text>`;
  const described = groups.map(({ title: name, floorMs, bars }) =>
    `${name}: ${bars.map(({ label, ms }) => `${label} ${ms.toFixed(3)} ms`).join(", ")}, ` +
    `floor ${floorMs.toFixed(3)} ms`);
  const height = end + bottom;
  return `<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 ${width} ${height}" ` +
    `width="${width}" height="${height}">\n` +
    `<title>${escape(title)}</title>\n<desc>${escape(described.join("; "))}</desc>\n` +
    `<style>${style}\n</style>\n` +
    `<text class="title" x="12" y="24">${escape(title)}</text>\n` +
    [...lines, ...drawn, floor].join("\n") +
    `\n<line class="axis" x1="${left}" x2="${left}" y1="${top - 6}" y2="${end}"/>\n` +
    `<text class="small" x="12" y="${end + 36}">milliseconds per step beside each bar; ` +
    `length: multiple of the time in which memory can read the step's bytes</text>\n</svg>\n`;
}

function drawGroup({ title, floorMs, bars }: Group, y: number, x: (m: number) => number): string {
  const { left, bar, gap } = layout;
  const middle = y + (bars.length * (bar + gap)) / 2 - gap / 2;
  const name =
    `<text x="${left - 10}" y="${round(middle)}" text-anchor="end">${escape(title)}</text>` +
    `<text class="small" x="${left - 10}" y="${round(middle + 14)}" text-anchor="end">` +
    `floor ${floorMs.toFixed(3)} ms</text>`;
  const drawn = bars.map(({ kind, label, ms }, i) => {
    const at = y + i * (bar + gap);
    const to = x(ms / floorMs);
    return `<rect class="${kind}" x="${left}" y="${at}" width="${round(to - left)}" ` +
      `height="${bar}"/><text class="small" x="${round(to + 5)}" y="${at + 12}">` +
      `${escape(label)} ${ms.toFixed(3)}</text>`;
  });
  return [name, ...drawn].join("\n");
}
