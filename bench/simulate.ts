/**
 * @file How far the simulator is from what an H200 measured.
 *
 *     node --conditions=@mpk/source bench/simulate.ts [--page docs/performance.md]
 *
 * Simulates every step of measured.json and prints a table of the errors; `--page` writes it between
 * the page's marks. Steps marked `fitted` are those that the constants were fitted to; the others
 * were held out. `costs`: what the kernel that was measured had otherwise (the attention of before).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { gpus, simulateSetting, type Setting } from "@mpk/compiler";
import { knownShapes } from "@mpk/models";

interface Measured {
  readonly shape: string;
  readonly plan?: Setting["plan"];
  readonly costs?: Partial<Setting["gpu"]["constants"]>;
  readonly ms: number;
  readonly fitted?: boolean;
}
interface File {
  readonly gpu: string;
  readonly context: number;
  readonly steps: readonly Measured[];
}

const { values } = parseArgs({ options: { page: { type: "string" } } });
const file = JSON.parse(
  readFileSync(new URL("./measured.json", import.meta.url), "utf8"),
) as File;
const shapes = knownShapes();
const rows: string[] = [];
const errors: { readonly fitted: boolean; readonly percent: number }[] = [];
for (const { shape, plan = {}, costs = {}, ms, fitted = false } of file.steps) {
  const gpu = { ...gpus.h200, constants: { ...gpus.h200.constants, ...costs } };
  const { simulation } = await simulateSetting({ model: shape, gpu, context: file.context, plan });
  const predicted = simulation.stepNanos / 1e6;
  const percent = (predicted / ms - 1) * 100;
  errors.push({ fitted, percent });
  const chosen = Object.entries(plan).map(([name, value]) => `${name} ${value}`);
  const told = [
    shapes[shape]?.title ?? shape, chosen.join(", ") || "as compiled",
    ms.toFixed(3), predicted.toFixed(3), `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %`,
    fitted ? "fitted" : "held out",
  ];
  rows.push(`| ${told.join(" | ")} |`);
}
const worst = (fitted: boolean): string =>
  Math.max(...errors.filter((one) => one.fitted === fitted).map((one) => Math.abs(one.percent)))
    .toFixed(1);
const table = `| shape | plan | measured ms | predicted ms | error | |
|---|---|---|---|---|---|
${rows.join("\n")}

Largest error: ${worst(true)} % where constants were fitted, ${worst(false)} % held out.
`;
console.log(table);
if (values.page !== undefined) {
  const page = readFileSync(values.page, "utf8");
  const marks = /(<!-- begin simulated -->\n)[\s\S]*(<!-- end simulated -->)/;
  if (!marks.test(page)) throw new Error(`${values.page}: has no marks for the table`);
  writeFileSync(values.page, page.replace(marks, (_, begin, end) => `${begin}${table}${end}`));
}
