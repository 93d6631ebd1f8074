/** @file Bars as pixels: straight into an image, since a step has a hundred thousand of them. */
import { data, plan } from "./load.js";
import { CAUSES } from "./runs.js";

const packRgb = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
function hsl(h, s, l) {
  const f = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return packRgb(f(0), f(8), f(4));
}
export const cssOf = (word) => `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`;
function mix(a, b, share) {
  const part = (shift) => {
    const [x, y] = [(a >> shift) & 255, (b >> shift) & 255];
    return Math.round(x + (y - x) * share);
  };
  return packRgb(part(0), part(8), part(16));
}
export const hex = (text) => packRgb(...[1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));

/* By theme: ground, then the causes in their order. Told apart by lightness too, for print. */
const palettes = {
  light: { ground: hex("#f3f2ee"), idle: hex("#dedcd5"),
    causes: [
      "#c9c6bd", "#f2c14e", "#e8743b", "#c48fc0", "#9b7fc9", "#8fb8de", "#1f6fb4", "#2a9d6e",
      "#5b5f97", "#8d8fb0",
    ] },
  dark: { ground: hex("#1b1e23"), idle: hex("#2c3036"),
    causes: [
      "#454a52", "#b8860b", "#d9622b", "#a7649f", "#8d6fc0", "#32536f", "#4aa3e8", "#37b583",
      "#8186d5", "#5a5d85",
    ] },
};

/* Colours of everything that a bar can stand for, by what is coloured. */
export function paints(theme, mode, chosen) {
  const { ground, idle, causes: listed } = palettes[theme];
  const own = listed.map(hex);
  const names = [...new Set(data.ops.map((op) => op.name))];
  const layers = Math.max(1, ...data.ops.map((op) => (op.layer ?? -1) + 1));
  const light = theme === "dark" ? 0.6 : 0.45;
  const base = data.ops.map((op) => mode === "layer"
    ? (op.layer === null ? hsl(0, 0, light) : hsl((op.layer / layers) * 300, 0.55, light))
    : hsl((names.indexOf(op.name) * 137.5) % 360, 0.55, light));
  const words = new Uint32Array(data.ops.length * CAUSES);
  data.ops.forEach((_, op) => {
    for (let cause = 0; cause < CAUSES; cause++) {
      // Work in the op's colour, waits as ground with a shade of it.
      const isWork = cause === 3 || cause === 4 || cause >= 6;
      const plain = mode === "cause" ? own[cause] : isWork ? base[op] : mix(idle, base[op], 0.25);
      const isDim = chosen !== null && !chosen.has(op);
      words[op * CAUSES + cause] = isDim ? mix(plain, ground, 0.85) : plain;
    }
  });
  return { words, ground, causes: own, names, base };
}

/* First slot of an SM that ends after a time. */
export function firstAfter(run, sm, nanos) {
  let lo = plan.order[sm];
  let hi = plan.order[sm + 1];
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if (run.ends[middle * CAUSES + CAUSES - 1] > nanos) hi = middle;
    else lo = middle + 1;
  }
  return lo;
}

/* Draws lanes [first, last) of a run into `pixels` (a width x height image), from line `top` on. */
export function drawLanes(pixels, width, height, run, paint, view, top, laneHeight, first, last, bottom) {
  const { from, perPixel } = view;
  const row = new Uint32Array(width);
  const { words, ground } = paint;
  const { ends, begins } = run;
  const scale = 1 / perPixel;
  for (let sm = first; sm < last; sm++) {
    const y0 = Math.max(top, Math.round(top + (sm - view.lane) * laneHeight));
    const y1 = Math.min(bottom, Math.round(top + (sm + 1 - view.lane) * laneHeight));
    if (y1 <= y0) continue;
    row.fill(ground);
    const stop = plan.order[sm + 1];
    const to = from + width * perPixel;
    for (let slot = firstAfter(run, sm, from); slot < stop; slot++) {
      const begin = begins[slot];
      if (begin > to) break;
      let x = Math.round((begin - from) * scale);
      const colours = plan.op[slot] * CAUSES;
      const at = slot * CAUSES;
      for (let cause = 0; cause < CAUSES; cause++) {
        let end = Math.round((ends[at + cause] - from) * scale);
        if (end <= x) continue;
        if (end > 0) {
          const word = words[colours + cause];
          if (end > width) end = width;
          for (let i = x < 0 ? 0 : x; i < end; i++) row[i] = word;
        }
        x = end;
      }
    }
    const isGapped = laneHeight >= 7;
    for (let y = y0; y < y1; y++) {
      const isGap = isGapped && y === y1 - 1;
      if (isGap) pixels.fill(ground, y * width, (y + 1) * width);
      else pixels.set(row, y * width);
    }
  }
}
