"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const el = (id) => document.getElementById(id);
const tasks = data.tasks.map(([op, sm, lo, hi, bytes, waits, signals]) => ({
  op, sm, lo, hi, bytes, waits, signals,
}));
const rows = data.ops.filter((op) => op.tasks > 0);
const rowOf = new Map(rows.map((op, row) => [op.index, row]));
const cells = new Map(tasks.map((task) => [`${rowOf.get(task.op)} ${task.sm}`, task]));

const units = ["B", "KiB", "MiB", "GiB"];
function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 3) { value /= 1024; unit++; }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
const name = (op) => `${op.index} ${op.kind}${op.scope ? ` · ${op.scope}` : ""}`;

const measures = {
  bytes: { of: (task) => task.bytes, text: bytes },
  tiles: { of: (task) => task.hi - task.lo, text: (n) => `${n} tiles` },
  waits: { of: (task) => task.waits.length, text: (n) => `${n} events` },
};
let measure = "bytes";
let picked = null;

/* The map: a canvas, for there can be tens of thousands of cells. */
const canvas = el("map");
const left = 210;
const cellWidth = Math.max(5, Math.min(40, Math.floor(1120 / data.sms)));
const cellHeight = rows.length > 120 ? 8 : 14;
const isDark = () => {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
function colour(share) {
  const light = isDark() ? 22 + 50 * share : 92 - 52 * share;
  return `hsl(${215 - 25 * share} ${45 + 35 * share}% ${light}%)`;
}

function draw() {
  const { of, text } = measures[measure];
  const most = Math.max(1, ...tasks.map(of));
  const width = left + data.sms * cellWidth + 8;
  const height = 18 + rows.length * cellHeight + 4;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `${Math.min(11, cellHeight)}px ui-monospace, monospace`;
  pen.textBaseline = "middle";
  const ink = isDark() ? "#989ea8" : "#6b7078";
  pen.fillStyle = ink;
  const every = Math.max(1, Math.ceil(30 / cellWidth));
  for (let sm = 0; sm < data.sms; sm += every) pen.fillText(sm, left + sm * cellWidth, 8);
  rows.forEach((op, row) => {
    const y = 18 + row * cellHeight;
    if (op.index === picked) {
      pen.fillStyle = isDark() ? "#3b3513" : "#fff3c9";
      pen.fillRect(0, y, width, cellHeight);
    }
    pen.fillStyle = ink;
    if (cellHeight >= 12 || row % 2 === 0) {
      pen.fillText(name(op), 2, y + cellHeight / 2, left - 8);
    }
  });
  for (const task of tasks) {
    const y = 18 + rowOf.get(task.op) * cellHeight;
    // By the root: one large op, such as the vocabulary's, would dim all others.
    pen.fillStyle = colour(Math.sqrt(of(task) / most));
    pen.fillRect(left + task.sm * cellWidth, y + 1, cellWidth - 1, cellHeight - 2);
  }
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => colour(Math.sqrt(share))).join(",");
  el("scale").innerHTML =
    `0 <i style="background:linear-gradient(90deg,${stops})"></i> ${text(most)}`;
}

function cellAt(event) {
  const box = canvas.getBoundingClientRect();
  const sm = Math.floor((event.clientX - box.left - left) / cellWidth);
  const row = Math.floor((event.clientY - box.top - 18) / cellHeight);
  return { row, sm, op: rows[row], task: cells.get(`${row} ${sm}`) };
}

canvas.addEventListener("mousemove", (event) => {
  const { op, task, sm } = cellAt(event);
  const tip = el("tip");
  tip.hidden = op === undefined;
  if (op === undefined) return;
  const where = op.site ? `\n${op.site}` : "";
  tip.textContent = task === undefined
    ? `${name(op)}${where}\n${op.output}`
    : `${name(op)}${where}\nSM ${sm}: tiles ${task.lo}..${task.hi}, ${bytes(task.bytes)} streamed\n` +
      `waits for ${list(task.waits)}\nsignals ${list(task.signals)}`;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 480)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - 120)}px`;
});
canvas.addEventListener("mouseleave", () => { el("tip").hidden = true; });
canvas.addEventListener("click", (event) => {
  const { op } = cellAt(event);
  if (op !== undefined) pick(op.index);
});
const list = (events) =>
  events.length === 0
    ? "nothing"
    : `event ${events.slice(0, 8).join(", ")}${events.length > 8 ? ", …" : ""}`;

/* The table. */
let sortKey = "index";
let ascending = true;
function fillTable() {
  const wanted = el("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const fits = (op) => wanted.every((word) => `${name(op)} ${op.output}`.toLowerCase().includes(word));
  const shown = data.ops.filter(fits).sort((a, b) => {
    const order = a[sortKey] < b[sortKey] ? -1 : a[sortKey] > b[sortKey] ? 1 : 0;
    return ascending ? order : -order;
  });
  el("shown").textContent = `${shown.length} of ${data.ops.length}`;
  el("ops").replaceChildren(...shown.map(tableRow));
}
function tableRow(op) {
  const row = document.createElement("tr");
  row.dataset.op = op.index;
  row.className = op.index === picked ? "picked" : "";
  const view = op.tasks === 0;
  const cellsOf = [
    [op.index], [op.kind], [op.scope], [view ? "view" : op.tasks, "n"], [op.tiles, "n"],
    [op.streamedBytes === 0 ? "–" : bytes(op.streamedBytes), "n"], [op.waits, "n"], [op.depth, "n"],
    [op.output], [op.site],
  ];
  for (const [text, kind] of cellsOf) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (kind) cell.className = kind;
    row.append(cell);
  }
  row.addEventListener("click", () => pick(op.index));
  return row;
}
for (const head of document.querySelectorAll("th[data-key]")) {
  head.addEventListener("click", () => {
    ascending = head.dataset.key === sortKey ? !ascending : true;
    sortKey = head.dataset.key;
    fillTable();
  });
}

/* Edges of the picked op. */
function pick(index) {
  picked = picked === index ? null : index;
  draw();
  for (const row of document.querySelectorAll("#ops tr")) {
    row.className = Number(row.dataset.op) === picked ? "picked" : "";
  }
  const panel = el("edges");
  panel.hidden = picked === null;
  if (picked === null) return;
  const op = data.ops[picked];
  const title = document.createElement("h2");
  title.textContent = `Edges of ${name(op)}`;
  const inputs = document.createElement("p");
  inputs.textContent = `reads ${op.inputs.join(" · ")}`;
  const before = data.edges.filter((edge) => edge.to === picked);
  const after = data.edges.filter((edge) => edge.from === picked);
  panel.replaceChildren(
    title, inputs, edgeList("waits for", before, "from"), edgeList("signals", after, "to"),
  );
}
function edgeList(title, edges, end) {
  const paragraph = document.createElement("p");
  paragraph.append(`${title}: `);
  if (edges.length === 0) paragraph.append("nothing");
  edges.forEach((edge, i) => {
    const link = document.createElement("a");
    link.textContent = name(data.ops[edge[end]]);
    link.addEventListener("click", () => pick(edge[end]));
    const step = edge.crossStep ? ", of the step before" : "";
    paragraph.append(i > 0 ? "; " : "", link, ` (${edge.events.length} events${step})`);
  });
  return paragraph;
}

el("measure").addEventListener("change", (event) => { measure = event.target.value; draw(); });
el("filter").addEventListener("input", fillTable);
el("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
fillTable();
