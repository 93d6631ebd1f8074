/** @file Self-contained HTML pages: a plan's op table and SM map, and the viewer of its runs. */
import { readFileSync } from "node:fs";
import type { PlanView, ViewData } from "@mpk/compiler";
import { reportText } from "./text.ts";

const part = (name: string, folder: "page" | "view" = "page"): string =>
  readFileSync(new URL(`./${folder}/${name}`, import.meta.url), "utf8");

/** Text inside HTML. */
const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** JSON inside a script element: no text in it may end the element. */
const embed = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

/** Tasks as rows of numbers, which load quickly where there are tens of thousands. */
function compact(view: PlanView) {
  return {
    model: view.report.model,
    sms: view.report.sms,
    ops: view.ops,
    edges: view.edges,
    tasks: view.tasks.map((task) => [
      task.op, task.sm, task.tileLo, task.tileHi, task.streamedBytes, task.waits, task.signals,
    ]),
  };
}

/** The page. `program`: the Program's text form. */
export function planPage(view: PlanView, program: string): string {
  const fill: Readonly<Record<string, string>> = {
    title: escape(`${view.report.model} on ${view.report.sms} SMs`),
    style: part("style.css"),
    report: escape(reportText(view.report)),
    program: escape(program),
    data: embed(compact(view)),
    script: part("script.js"),
  };
  return filled(part("page.html"), fill);
}

const filled = (page: string, fill: Readonly<Record<string, string>>): string =>
  page.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => fill[name] ?? "");

/** In this order they make one script, which needs no imports. */
const viewScripts = [
  "load.js", "runs.js", "raster.js", "charts.js", "panel.js", "main.js", "input.js",
] as const;

const inOneScript = (module: string): string =>
  module.replaceAll(/^import [^;]*;\n/gm, "").replaceAll(/^export /gm, "");

/** The viewer: lanes of SMs over time, of one or more runs of a plan. */
export function viewPage(data: ViewData): string {
  const { model, sms, streamBytes, readBytesPerSecond, runs } = data;
  const floor = `floor ${((streamBytes / readBytesPerSecond) * 1e3).toFixed(3)} ms`;
  const steps = runs.map((run) => `${run.label} ${(run.stepNanos / 1e6).toFixed(3)} ms`);
  return filled(part("page.html", "view"), {
    title: escape(`${model}: one step on ${sms} SMs`),
    subtitle: escape([...steps, floor].join(" · ")),
    style: part("style.css", "view"),
    data: embed(data),
    script: viewScripts.map((name) => inOneScript(part(name, "view"))).join("\n"),
  });
}
