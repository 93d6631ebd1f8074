/** @file Beside the lanes: the picked task, the table of ops, the Program and its TypeScript. */
import {
  END, MARKS, bytesText, consumersOf, data, el, microsText, opText, plan, producersOf, regions,
  slotSm, slots, slotsOfOp,
} from "./load.js";
import { CAUSES, causes, heldUpBy, partsOf } from "./runs.js";
import { runs, state } from "./main.js";
import { pick, search, searchOps } from "./input.js";

export function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}
const slotText = (slot) =>
  `${opText(plan.op[slot])}, SM ${slotSm[slot]}, tiles ${plan.tileLo[slot]}..${plan.tileHi[slot]}`;

function regionText({ value, lo, hi }) {
  return `${data.values[value] ?? `value ${value}`} [${lo}..${hi})`;
}

/* What a pointer over a task tells. */
export function tipText(run, slot) {
  const op = data.ops[plan.op[slot]];
  const all = partsOf(run, slot);
  const sum = all.reduce((total, [, nanos]) => total + nanos, 0);
  const parts = all.filter(([, nanos]) => nanos >= 1)
    .map(([name, nanos]) => `  ${name} ${microsText(nanos)}`);
  const held = heldUpBy(run, slot);
  return [
    slotText(slot) + (op.layer === null ? "" : `, layer ${op.layer}`),
    op.site, `${microsText(run.begins[slot])} + ${microsText(sum)}, ${run.label}`, ...parts,
    plan.bytes[slot] > 0 ? `${bytesText(plan.bytes[slot])} of weights` : "no weights",
    ...regions(plan.reads, slot).slice(0, 4).map((one) => `reads ${regionText(one)}`),
    ...regions(plan.writes, slot).slice(0, 2).map((one) => `writes ${regionText(one)}`),
    held === null ? "waits for the step" : `waits for ${slotText(held)}`,
  ].filter((line) => line !== "").join("\n");
}

function slotLink(slot) {
  const link = make("button", slotText(slot), "link");
  link.addEventListener("click", () => pick(slot, true));
  return link;
}

export function showTask() {
  const panel = el("task");
  const { slot, run: index } = state.picked ?? {};
  if (slot === undefined) {
    const hint = "Click a bar for its task: what it reads, how long it took, and what held it up.";
    panel.replaceChildren(make("p", hint, "hint"));
    return;
  }
  const run = runs[index];
  const op = data.ops[plan.op[slot]];
  const title = make("h3", slotText(slot));
  const table = make("table");
  const head = make("tr");
  head.append(make("th", "µs"), ...runs.map((one) => make("th", one.label, "n")));
  table.append(head);
  const columns = runs.map((one) => partsOf(one, slot));
  causes.forEach(([name, title], i) => {
    if (columns.every((column) => column[i][1] < 1)) return;
    const row = make("tr");
    const cell = make("td", name);
    cell.title = title;
    row.append(cell, ...columns.map((column) => make("td", (column[i][1] / 1000).toFixed(2), "n")));
    table.append(row);
  });
  const total = make("tr", undefined, "total");
  total.append(make("td", "all"), ...columns.map((column) =>
    make("td", (column.reduce((sum, [, nanos]) => sum + nanos, 0) / 1000).toFixed(2), "n")));
  table.append(total);
  const facts = make("p", [
    op.layer === null ? "" : `layer ${op.layer}`,
    plan.bytes[slot] > 0 ? `${bytesText(plan.bytes[slot])} of weights` : "no weights",
    op.site,
  ].filter(Boolean).join(" · "), "hint");
  const held = heldUpBy(run, slot);
  const why = make("p");
  why.id = "held";
  why.append("held up by ", held === null ? "the step before" : slotLink(held));
  const lists = [["waits for", producersOf(slot)], ["others wait for it", consumersOf(slot)]];
  const more = lists.map(([name, all]) => {
    const sorted = all.toSorted((a, b) => run.marks[b * MARKS + END] - run.marks[a * MARKS + END]);
    const details = make("details");
    details.append(make("summary", `${name}: ${all.length} tasks`));
    for (const one of sorted.slice(0, 40)) details.append(slotLink(one));
    if (all.length > 40) details.append(make("p", `… and ${all.length - 40} more`, "hint"));
    return details;
  });
  const touched = make("details");
  touched.append(make("summary", "tensor regions"));
  const told = (verb, one) => touched.append(make("p", `${verb} ${regionText(one)}`, "mono"));
  for (const one of regions(plan.reads, slot)) told("reads", one);
  for (const one of regions(plan.writes, slot)) told("writes", one);
  panel.replaceChildren(title, facts, table, why, ...more, touched);
}

/* Mean over SMs, of ops at the same place of every layer together; two runs side by side. */
export function opTable() {
  const sums = new Map();
  for (let slot = 0; slot < slots; slot++) {
    const { name } = data.ops[plan.op[slot]];
    const row = sums.get(name) ?? runs.map(() => 0);
    runs.forEach((run, i) => {
      row[i] += run.ends[slot * CAUSES + CAUSES - 1] - run.begins[slot];
    });
    sums.set(name, row);
  }
  const compared = runs.length > 1;
  const [a, b] = [runs.length - 2, runs.length - 1];
  const head = make("tr");
  head.append(make("th", "op, mean µs of an SM"), ...runs.map((run) => make("th", run.label, "n")));
  if (compared) head.append(make("th", "difference", "n"));
  const rows = [...sums].sort(([, x], [, y]) => y[0] - x[0]).map(([name, list]) => {
    const row = make("tr");
    row.append(make("td", name), ...list.map((nanos) =>
      make("td", (nanos / data.sms / 1000).toFixed(1), "n")));
    if (compared) {
      const change = (list[b] - list[a]) / data.sms / 1000;
      const text = `${change > 0 ? "+" : ""}${change.toFixed(1)}`;
      row.append(make("td", text, change > 0 ? "n worse" : "n better"));
    }
    row.tabIndex = 0;
    const choose = () => search(name);
    row.addEventListener("click", choose);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
    return row;
  });
  el("ops").replaceChildren(head, ...rows);
}

/* The Program, a line an op, and the TypeScript that wrote the picked one. */
export function showProgram() {
  const lines = data.program.map((text, i) => {
    const op = opOfLine.get(i);
    const line = make("div", text || " ", op === undefined ? "" : "op");
    if (op !== undefined) {
      line.dataset.op = op;
      line.addEventListener("click", () => pick(slotsOfOp[op][0] ?? null, true, op));
    }
    return line;
  });
  el("program").replaceChildren(...lines);
}
const opOfLine = new Map(data.ops.map((op, index) => [op.line, index]));

export function showOp(op, byUser) {
  for (const line of el("program").querySelectorAll(".picked")) line.classList.remove("picked");
  const source = el("source");
  if (op === null) {
    source.hidden = true;
    return;
  }
  const line = el("program").children[data.ops[op].line];
  line?.classList.add("picked");
  if (line && !byUser) el("program").scrollTop = line.offsetTop - el("program").clientHeight / 2;
  const [, path, at] = /^(.*):(\d+):\d+$/.exec(data.ops[op].site) ?? [];
  const text = data.sources[path];
  source.hidden = path === undefined;
  if (path === undefined) return;
  const rows = text === undefined ? [] : text.split("\n").map((code, i) => {
    const row = make("div", `${String(i + 1).padStart(4)}  ${code}`, i + 1 === Number(at) ? "picked" : "");
    const here = data.ops.findIndex((one) => one.site.startsWith(`${path}:${i + 1}:`));
    if (here >= 0) {
      row.classList.add("op");
      row.addEventListener("click", () => searchOps(
        data.ops.flatMap((one, index) => one.site.startsWith(`${path}:${i + 1}:`) ? [index] : []),
        `${path}:${i + 1}`));
    }
    return row;
  });
  el("source-name").textContent = data.ops[op].site;
  el("source-text").replaceChildren(...rows);
  el("source-text").hidden = rows.length === 0;
  const row = el("source-text").children[Number(at) - 1];
  if (row) el("source-text").scrollTop = row.offsetTop - el("source-text").clientHeight / 2;
}
