/** @file Puts the plan model's text together: with a plan's tables in it, or loading them. Pure. */
import { planBody } from "./planModel.ts";
import type { ModelSizes, PlanTables } from "./tables.ts";

/** The model's arrays, in the order in which they are loaded. */
const arrayNames = [
  "counts", "orderStart", "openEnd", "waitStart", "waitEvent", "signalStart", "signalEvent",
  "threshold", "crossStep", "cellKind", "cellPart", "touchStart", "touchKind", "touchValue",
  "manyOnly", "pollStart", "pollWriter", "writerOf", "imageStart", "image", "takeStart", "take",
] as const;

const defines = ({ sms, events, history, writers }: ModelSizes, steps: number): readonly string[] => [
  `#define STEPS ${steps}`, `#define SMS ${sms}`, `#define EVENTS ${events}`,
  `#define HISTORY ${history}`, `#define WRITERS ${writers}`,
];

/** A whole model of one plan, for \`spin -a\`. `title` is quoted in the first line. */
export function renderPlan({ sizes, steps, arrays }: PlanTables, title: readonly string[]): string {
  const lines = arrayNames.map((name) => {
    const entries = arrays[name] ?? [];
    const text = entries.length === 0 ? "0" : entries.join(", ");
    return wrap(`hidden short ${name}[${Math.max(1, entries.length)}] = { ${text} };`);
  });
  const comment = title.map((line) => ` * ${line.replaceAll("*/", "* /")}`);
  return [
    "/*", ...comment, " */", ...defines(sizes, steps), "#define LOAD skip;", "",
    ...lines, planBody,
  ].join("\n");
}

/** Long lists break at 100 columns. */
function wrap(line: string): string {
  return line.replace(/(.{1,98})(?:\s|$)/g, "$1\n").trimEnd();
}

/** A model that loads a plan's tables from standard input: compiled once, run for many plans. */
export function renderLoader(sizes: ModelSizes, steps: number, capacity: number): string {
  const arrays = arrayNames.map((name) => `hidden short ${name}[${capacity}];`);
  const reads = arrayNames.map((name) => `mpk_read(${name});`);
  const reader =
    "static void mpk_read(short *to) { int n, i; " +
    `if (scanf("%d", &n) != 1 || n > ${capacity}) exit(90); ` +
    `for (i = 0; i < n; i++) if (scanf("%hd", to + i) != 1) exit(90); }`;
  return [
    ...defines(sizes, steps), `c_decl { ${reader} }`,
    `#define LOAD c_code { ${reads.join(" ")} };`, ...arrays, planBody,
  ].join("\n");
}

/** A plan's tables as the loader reads them. */
export function tableText({ arrays }: PlanTables): string {
  return arrayNames
    .map((name) => [arrays[name]?.length ?? 0, ...(arrays[name] ?? [])].join(" "))
    .join("\n");
}
