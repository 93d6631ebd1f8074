/** @file The page: what is shown of which run, and what the pointer and the keys do. */
import { data, el, plan, producersOf, slotSm } from "./load.js";
import { CAUSES, causes, heldUpBy, runFrom } from "./runs.js";
import { cssOf, drawLanes, firstAfter, hex, paints } from "./raster.js";
import { curvesOf, drawChart } from "./charts.js";
import { make } from "./panel.js";

export const runs = data.runs.map(runFrom);
export const state = {
  view: { from: 0, perPixel: 1, lane: 0 },
  laneHeight: 3,
  mode: "cause",
  theme: null,
  chosen: null,
  hover: null,
  picked: null,
  path: null,
  pathRun: 0,
  matches: [],
  match: -1,
};
const lanes = el("lanes");
export const over = el("over");
export const box = el("stage");
const pens = { lanes: lanes.getContext("2d", { alpha: false, willReadFrequently: true }),
  over: over.getContext("2d") };
export const [left, axis, header, chartHeight, gap] = [46, 24, 18, 44, 6];
export let layout = null;
export let paint = null;
let image = null;
export let pixels = null;

const longest = () => Math.max(...runs.map((run) => run.stepNanos));
export const themeNow = () => state.theme ??
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const inkNow = () => themeNow() === "dark"
  ? { text: "#e3e5e8", soft: "#a3a9b3", line: "#3a3f47", strong: "#ffffff", back: "#16181c" }
  : { text: "#22252a", soft: "#5f656e", line: "#d5d4cd", strong: "#000000", back: "#fbfbf9" };

/* Where each run's lanes and charts are, in CSS pixels. */
export function place() {
  const width = Math.max(200, box.clientWidth);
  const height = Math.max(240, box.clientHeight);
  const charts = 2 * (chartHeight + gap);
  const each = Math.max(30, (height - axis) / runs.length - header - charts - gap);
  layout = { width, height, inner: width - left - 1, each,
    rows: runs.map((_, i) => axis + i * (each + header + charts + gap) + header) };
  const ratio = window.devicePixelRatio || 1;
  for (const canvas of [lanes, over]) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  layout.ratio = ratio;
  image = pens.lanes.createImageData(Math.max(1, Math.round(layout.inner * ratio)), lanes.height);
  pixels = new Uint32Array(image.data.buffer);
}

const shortestLane = () => layout.each / data.sms;
export function clampView() {
  const { view } = state;
  const most = (longest() * 1.02) / layout.inner;
  view.perPixel = Math.min(most, Math.max(0.2, view.perPixel));
  const reach = layout.inner * view.perPixel;
  view.from = Math.min(Math.max(-0.05 * reach, view.from), Math.max(0, longest() * 1.02 - reach));
  state.laneHeight = Math.min(Math.max(40, shortestLane()), Math.max(shortestLane(), state.laneHeight));
  view.lane = Math.min(Math.max(0, view.lane), Math.max(0, data.sms - layout.each / state.laneHeight));
}
/* What was the whole stays the whole when there is more or less room. */
export function resize() {
  const [wasLane, wasReach] = [shortestLane(), layout.inner * state.view.perPixel];
  place();
  if (state.laneHeight <= wasLane) state.laneHeight = 0;
  state.view.perPixel = wasReach / layout.inner;
  clampView();
  frame();
}
export function fit() {
  state.view = { from: 0, perPixel: Infinity, lane: 0 };
  state.laneHeight = 0;
  clampView();
  draw();
}

export function repaint() {
  paint = paints(themeNow(), state.mode, state.chosen);
  legend();
  draw();
}
/* At once, for paper. */
export function paintNow() {
  paint = paints(themeNow(), state.mode, state.chosen);
  frame();
}

/* One frame: bars, then what lies over them. */
export function frame() {
  const began = performance.now();
  const { ratio } = layout;
  const scaled = { ...state.view, perPixel: state.view.perPixel / ratio };
  const ink = inkNow();
  pixels.fill(hex(ink.back));
  runs.forEach((run, i) => {
    const top = Math.round(layout.rows[i] * ratio);
    const bottom = Math.round((layout.rows[i] + layout.each) * ratio);
    const first = Math.floor(state.view.lane);
    const last = Math.min(data.sms, Math.ceil(state.view.lane + layout.each / state.laneHeight));
    drawLanes(pixels, image.width, image.height, run, paint, scaled, top,
      state.laneHeight * ratio, first, last, bottom);
  });
  pens.lanes.fillStyle = ink.back;
  pens.lanes.fillRect(0, 0, lanes.width, lanes.height);
  pens.lanes.putImageData(image, Math.round(left * ratio), 0);
  drawOver(ink);
  return performance.now() - began;
}
let asked = false;
export const frameMillis = [];
export function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    frameMillis.push(frame());
    if (frameMillis.length > 1000) frameMillis.shift();
  });
}

export const xOf = (nanos) => left + (nanos - state.view.from) / state.view.perPixel;
export const yOf = (run, sm) => layout.rows[run] + (sm - state.view.lane) * state.laneHeight;

function drawOver(ink) {
  const pen = pens.over;
  pen.setTransform(layout.ratio, 0, 0, layout.ratio, 0, 0);
  pen.clearRect(0, 0, layout.width, layout.height);
  pen.font = "11px system-ui, sans-serif";
  drawAxis(pen, ink);
  runs.forEach((run, i) => {
    const top = layout.rows[i];
    pen.fillStyle = ink.text;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillText(`${run.label}: ${(run.stepNanos / 1e6).toFixed(3)} ms`, left, top - header / 2);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = ink.soft;
    pen.fillText(run.detail, left + 190, top - header / 2);
    pen.textAlign = "right";
    const every = Math.max(1, Math.ceil(14 / state.laneHeight / 4) * 4);
    const count = Math.ceil(layout.each / state.laneHeight);
    for (let sm = Math.floor(state.view.lane); sm < state.view.lane + count && sm < data.sms; sm++) {
      const y = yOf(i, sm) + state.laneHeight / 2;
      if ((sm % every === 0 || state.laneHeight >= 12) && y > top && y < top + layout.each) {
        pen.fillText(`SM ${sm}`, left - 5, y);
      }
    }
    curvesOf(run).forEach((curve, chart) => {
      const y = top + layout.each + gap + chart * (chartHeight + gap);
      drawChart(pen, curve, state.view, left, y, Math.floor(layout.inner), chartHeight, ink,
        cssOf(paint.causes[chart === 0 ? 6 : 4]));
    });
    pen.save();
    pen.beginPath();
    pen.rect(left, top, layout.inner, layout.each);
    pen.clip();
    drawLabels(pen, run, i);
    drawMarks(pen, run, i, ink);
    pen.restore();
  });
}

function drawAxis(pen, ink) {
  const step = niceStep(90 * state.view.perPixel);
  pen.fillStyle = ink.soft;
  pen.strokeStyle = ink.line;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let at = Math.ceil(state.view.from / step) * step; xOf(at) < layout.width; at += step) {
    const x = xOf(at);
    if (x < left) continue;
    pen.fillText(step >= 1000 ? `${at / 1000} µs` : `${(at / 1000).toFixed(2)} µs`, x, 9);
    pen.beginPath();
    pen.moveTo(x, 17);
    pen.lineTo(x, axis);
    pen.stroke();
  }
}
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least);
}

/* Names in bars that are wide and high enough for them. */
function drawLabels(pen, run, index) {
  if (state.laneHeight < 11) return;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillStyle = themeNow() === "dark" ? "#ffffff" : "#101215";
  const { from, perPixel } = state.view;
  const to = from + layout.inner * perPixel;
  const last = Math.min(data.sms, Math.ceil(state.view.lane + layout.each / state.laneHeight));
  for (let sm = Math.floor(state.view.lane); sm < last; sm++) {
    for (let slot = firstAfter(run, sm, from); slot < plan.order[sm + 1]; slot++) {
      const begin = run.begins[slot];
      if (begin > to) break;
      const x = Math.max(left, xOf(begin));
      const room = xOf(run.ends[slot * CAUSES + CAUSES - 1]) - x - 6;
      if (room < 30) continue;
      const text = data.ops[plan.op[slot]].name;
      const fits = Math.floor(room / 5.6);
      pen.fillText(text.length > fits ? `${text.slice(0, fits - 1)}…` : text, x + 3,
        yOf(index, sm) + state.laneHeight / 2);
    }
  }
}

/* The pointer's task, the picked one with what it waits for, and the critical path. */
function drawMarks(pen, run, index, ink) {
  const bar = (slot) => ({
    x0: xOf(run.begins[slot]), x1: xOf(run.ends[slot * CAUSES + CAUSES - 1]),
    y: yOf(index, slotSm[slot]),
  });
  const outline = (slot, width) => {
    const { x0, x1, y } = bar(slot);
    pen.lineWidth = width;
    pen.strokeRect(x0, y, Math.max(2, x1 - x0), Math.max(2, state.laneHeight - 1));
  };
  const link = (from, to) => {
    const [a, b] = [bar(from), bar(to)];
    const half = state.laneHeight / 2;
    pen.beginPath();
    pen.moveTo(a.x1, a.y + half);
    pen.lineTo(xOf(run.ends[to * CAUSES + 2]), b.y + half);
    pen.stroke();
  };
  if (state.path !== null && state.pathRun === index) {
    pen.strokeStyle = ink.strong;
    pen.lineWidth = 1.5;
    pen.beginPath();
    state.path.forEach((slot, i) => {
      const { x0, x1, y } = bar(slot);
      const half = state.laneHeight / 2;
      if (i === 0) pen.moveTo(x0, y + half);
      else pen.lineTo(Math.max(x0, xOf(run.ends[slot * CAUSES + 2])), y + half);
      pen.lineTo(x1, y + half);
    });
    pen.stroke();
  }
  if (state.picked !== null) {
    const { slot } = state.picked;
    const producers = producersOf(slot).slice(0, 200);
    pen.strokeStyle = ink.strong;
    pen.globalAlpha = Math.max(0.06, Math.min(0.6, 4 / producers.length));
    pen.lineWidth = 0.7;
    for (const one of producers) link(one, slot);
    pen.globalAlpha = 1;
    pen.strokeStyle = "#e0312f";
    const held = heldUpBy(run, slot);
    if (held !== null) {
      pen.lineWidth = 2;
      link(held, slot);
      outline(held, 1.5);
    }
    outline(slot, 2.5);
  }
  if (state.hover !== null && state.hover.run === index) {
    pen.strokeStyle = ink.strong;
    outline(state.hover.slot, 1);
  }
}

function legend() {
  const items = state.mode === "cause"
    ? causes.map(([name, title], i) => [name, title, cssOf(paint.causes[i])])
    : state.mode === "op"
      ? paint.names.map((name) => {
        const op = data.ops.findIndex((one) => one.name === name);
        return [name, name, cssOf(paint.base[op])];
      })
      : [["layers, first to last", "by hue", "linear-gradient(90deg,red,orange,green,blue,purple)"]];
  el("legend").replaceChildren(...items.map(([name, title, colour]) => {
    const item = make("span", name);
    item.title = title;
    const swatch = make("i");
    swatch.style.background = colour;
    item.prepend(swatch);
    return item;
  }));
}

/* The run and slot under a point; null beside all bars. */
export function slotAt(x, y) {
  if (x < left) return null;
  const index = layout.rows.findIndex((top) => y >= top && y < top + layout.each);
  if (index < 0) return null;
  const sm = Math.floor(state.view.lane + (y - layout.rows[index]) / state.laneHeight);
  if (sm < 0 || sm >= data.sms) return null;
  const nanos = state.view.from + (x - left) * state.view.perPixel;
  const slot = firstAfter(runs[index], sm, nanos);
  if (slot >= plan.order[sm + 1] || runs[index].begins[slot] > nanos) return null;
  return { run: index, slot };
}
