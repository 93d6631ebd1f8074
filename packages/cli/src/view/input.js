/** @file Pointer, wheel, keys, search, and files dropped on the page. */
import { data, el, plan, producersOf, slotSm, slotsOfOp } from "./load.js";
import { CAUSES, criticalPath, heldUpBy, partsOf, runFromFile } from "./runs.js";
import { opTable, showOp, showProgram, showTask, tipText } from "./panel.js";
import {
  box, clampView, draw, fit, frame, frameMillis, layout, left, over, paintNow, place, repaint,
  resize, runs, slotAt, state, themeNow, xOf, yOf,
} from "./main.js";

function zoom(factor, x = layout.inner / 2) {
  const { view } = state;
  const at = view.from + x * view.perPixel;
  view.perPixel *= factor;
  clampView();
  view.from = at - x * view.perPixel;
  clampView();
  draw();
}
function zoomLanes(factor, y = layout.each / 2) {
  const at = state.view.lane + y / state.laneHeight;
  state.laneHeight *= factor;
  clampView();
  state.view.lane = at - y / state.laneHeight;
  clampView();
  draw();
}
function pan(pixelsX, pixelsY) {
  state.view.from += pixelsX * state.view.perPixel;
  state.view.lane += pixelsY / state.laneHeight;
  clampView();
  draw();
}

/* Brings a slot into view, no further out than it is. */
function center(run, slot) {
  const { view } = state;
  const [begin, end] = [run.begins[slot], run.ends[slot * CAUSES + CAUSES - 1]];
  view.perPixel = Math.min(view.perPixel, Math.max((end - begin) * 6, 2000) / layout.inner);
  if (state.laneHeight < 6) state.laneHeight = 12;
  view.from = (begin + end) / 2 - (layout.inner / 2) * view.perPixel;
  view.lane = slotSm[slot] - layout.each / state.laneHeight / 2;
  clampView();
}
export function pick(slot, doCenter = false, op = null, run = state.picked?.run ?? 0) {
  state.picked = slot === null ? null : { slot, run };
  if (slot !== null && doCenter) center(runs[run], slot);
  showTask();
  showOp(slot === null ? op : plan.op[slot], op !== null);
  draw();
}

export function searchOps(ops, told) {
  state.chosen = ops === null ? null : new Set(ops);
  state.matches = ops ?? [];
  state.match = -1;
  el("found").textContent = ops === null ? "" : `${ops.length} ops: ${told}`;
  repaint();
}
/* Ops all of whose words are in their name, kind, scope, source or values; or SM 17. */
export function search(text) {
  if (el("search").value !== text) el("search").value = text;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const sm = /^sm\s*(\d+)$/i.exec(text.trim())?.[1];
  if (sm !== undefined && Number(sm) < data.sms) {
    state.laneHeight = Math.max(12, state.laneHeight);
    state.view.lane = Number(sm) - layout.each / state.laneHeight / 2;
    clampView();
    searchOps(null, "");
    el("found").textContent = `SM ${sm}`;
    return;
  }
  if (words.length === 0) return searchOps(null, "");
  const found = data.ops.flatMap((op, index) => {
    const all = [op.name, op.kind, op.scope, op.site, ...op.inputs, ...op.outputs].join(" ");
    const isHit = words.every((word) => all.toLowerCase().includes(word));
    return isHit && slotsOfOp[index].length > 0 ? [index] : [];
  });
  searchOps(found, text);
}
function nextMatch(by) {
  if (state.matches.length === 0) return;
  state.match = (state.match + by + state.matches.length) % state.matches.length;
  const slot = slotsOfOp[state.matches[state.match]][0];
  if (slot !== undefined) pick(slot, true);
}

function togglePath() {
  const run = state.picked?.run ?? state.pathRun;
  state.path = state.path === null || state.pathRun !== run ? criticalPath(runs[run]) : null;
  state.pathRun = run;
  el("path").setAttribute("aria-pressed", String(state.path !== null));
  tellPath(run);
  draw();
}
function tellPath(index) {
  if (state.path === null) return el("told").replaceChildren();
  const sums = new Map();
  for (const slot of state.path) {
    for (const [name, nanos] of partsOf(runs[index], slot)) {
      if (name === "imbalance") continue;
      sums.set(name, (sums.get(name) ?? 0) + nanos);
    }
  }
  const parts = [...sums].sort((a, b) => b[1] - a[1]).slice(0, 5)
    .map(([name, nanos]) => `${name} ${(nanos / 1000).toFixed(0)} µs`);
  el("told").textContent =
    `critical path, ${runs[index].label}: ${state.path.length} tasks; ${parts.join(", ")}`;
}
/* Back along what held the picked task up. */
function follow() {
  if (state.picked === null) return;
  const held = heldUpBy(runs[state.picked.run], state.picked.slot);
  if (held !== null) pick(held, true);
}
function step(by) {
  if (state.picked === null) return pick(plan.order[0], true);
  const sm = slotSm[state.picked.slot];
  const slot = state.picked.slot + by;
  if (slot >= plan.order[sm] && slot < plan.order[sm + 1]) pick(slot, true);
}
function setTheme() {
  state.theme = themeNow() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = state.theme;
  repaint();
}
function setMode(mode) {
  state.mode = mode;
  el("mode").value = mode;
  repaint();
}

const keys = {
  ArrowLeft: () => pan(-80, 0), ArrowRight: () => pan(80, 0),
  ArrowUp: () => pan(0, -40), ArrowDown: () => pan(0, 40),
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
  ">": () => zoomLanes(1.4), "<": () => zoomLanes(1 / 1.4), 0: () => fit(),
  p: follow, c: togglePath, t: setTheme, n: () => nextMatch(1), N: () => nextMatch(-1),
  "]": () => step(1), "[": () => step(-1), "/": () => el("search").focus(),
  k: () => setMode({ cause: "op", op: "layer", layer: "cause" }[state.mode]),
  "?": () => { el("help").open = !el("help").open; },
  r: () => { if (state.picked) pick(state.picked.slot, true, null, (state.picked.run + 1) % runs.length); },
  Escape: () => { search(""); pick(null); state.path = null; tellPath(0); draw(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    if (event.key === "Escape") { event.target.blur(); keys.Escape(); }
    if (event.key === "Enter" && event.target.id === "search") nextMatch(event.shiftKey ? -1 : 1);
    return;
  }
  const run = Object.hasOwn(keys, event.key) ? keys[event.key] : undefined;
  if (run === undefined) return;
  event.preventDefault();
  run();
});

let drag = null;
over.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: false };
  over.setPointerCapture(event.pointerId);
  over.focus();
});
over.addEventListener("pointermove", (event) => {
  if (drag !== null && event.buttons > 0) {
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (drag.moved || Math.hypot(dx, dy) > 3) {
      drag = { x: event.clientX, y: event.clientY, moved: true };
      pan(-dx, -dy);
    }
    return;
  }
  hover(event);
});
over.addEventListener("pointerup", (event) => {
  const wasClick = drag !== null && !drag.moved;
  drag = null;
  if (!wasClick) return;
  const hit = slotAt(event.offsetX, event.offsetY);
  if (hit === null) pick(null);
  else pick(hit.slot, false, null, hit.run);
});
over.addEventListener("dblclick", (event) => {
  const hit = slotAt(event.offsetX, event.offsetY);
  if (hit !== null) pick(hit.slot, true, null, hit.run);
});
over.addEventListener("pointerleave", () => { el("tip").hidden = true; state.hover = null; draw(); });
over.addEventListener("wheel", (event) => {
  event.preventDefault();
  const amount = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
  if (event.shiftKey) pan(amount, 0);
  else if (event.altKey) zoomLanes(Math.exp(-amount * 0.002), event.offsetY - layout.rows[0]);
  else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX, 0);
  else zoom(Math.exp(amount * 0.002), Math.max(0, event.offsetX - left));
}, { passive: false });

function hover(event) {
  const hit = slotAt(event.offsetX, event.offsetY);
  const tip = el("tip");
  tip.hidden = hit === null;
  if (hit?.slot !== state.hover?.slot || hit?.run !== state.hover?.run) {
    state.hover = hit;
    if (hit !== null) tip.textContent = tipText(runs[hit.run], hit.slot);
    draw();
  }
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
}

/* A second profile, from a file: shown below, compared in the table. */
async function addFile(file) {
  try {
    const run = runFromFile(file.name, await file.text());
    runs.push(run);
    el("error").hidden = true;
    started();
  } catch (error) {
    el("error").textContent = error instanceof TypeError
      ? `${file.name}: is no profile that mpk wrote; was it edited?` : error.message;
    el("error").hidden = false;
  }
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  for (const file of event.dataTransfer.files) void addFile(file);
});
el("file").addEventListener("change", (event) => {
  for (const file of event.target.files) void addFile(file);
});

el("mode").addEventListener("change", (event) => setMode(event.target.value));
el("search").addEventListener("input", (event) => search(event.target.value));
el("fit").addEventListener("click", fit);
el("theme").addEventListener("click", setTheme);
el("path").addEventListener("click", togglePath);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

function started() {
  place();
  clampView();
  opTable();
  showTask();
  repaint();
}
new ResizeObserver(() => { if (layout !== null) resize(); }).observe(box);
place();
fit();
showProgram();
started();
/* Paper is white; what is drawn for it is drawn at once. */
let before = null;
addEventListener("beforeprint", () => {
  before = state.theme;
  state.theme = "light";
  document.documentElement.dataset.theme = "light";
  paintNow();
});
addEventListener("afterprint", () => {
  state.theme = before;
  if (before === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = before;
  repaint();
});
/* For tests and scripts. */
window.mpkView = {
  state, runs, plan, data, frame, frameMillis, pick, fit, zoom, pan, search, layout: () => layout,
  slotAt, heldUpBy, criticalPath, xOf, yOf, producersOf,
};
