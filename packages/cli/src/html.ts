/** @file A plan as one self-contained HTML page: op table, SM map, details on hover. */
import { readFileSync } from "node:fs";
import type { PlanView } from "@mpk/compiler";
import { reportText } from "./text.ts";

const part = (name: string): string =>
  readFileSync(new URL(`./page/${name}`, import.meta.url), "utf8");

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
  return part("page.html").replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => fill[name] ?? "");
}
