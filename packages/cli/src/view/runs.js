/** @file Runs: the step as predicted and as measured, each slot cut into what the SM did or waited for. */
import {
  ASKED, CONSUMED, DATA, END, MARKS, PLACED, READY, STALLED, START, STORED, data, plan, producersOf, signallers,
  slotSm, slots, unpack,
} from "./load.js";

export const causes = [
  ["between", "between two tasks"],
  ["imbalance", "waits for SMs that still work on what it needs"],
  ["handOff", "the last signal is out, not yet seen here"],
  ["norm", "inputs normed and into shared memory"],
  ["prepare", "what else comes before the first weights"],
  ["ringEmpty", "waits for weights: not there yet"],
  ["stream", "uses weights as they come"],
  ["work", "attention, and ops without weights"],
  ["finish", "sums, epilogue and stores after the last weights"],
  ["signal", "outputs are stored, until the last signal is out"],
];
export const CAUSES = causes.length;

/* When the last task that a slot waits for was done: what was signalled, not yet seen. */
function lastSignals(marks) {
  const done = new Map();
  for (const [event, list] of signallers) {
    let last = -Infinity;
    for (const slot of list) last = Math.max(last, marks[slot * MARKS + END]);
    done.set(event, last);
  }
  const found = new Float32Array(slots).fill(-Infinity);
  const { start, items } = plan.waits;
  for (let slot = 0; slot < slots; slot++) {
    for (let i = start[slot]; i < start[slot + 1]; i++) {
      found[slot] = Math.max(found[slot], done.get(items[i]) ?? -Infinity);
    }
  }
  return found;
}

/* Ends of a slot's parts, one a cause, in the order of `causes`; each at least the one before. */
function boundariesOf(marks) {
  const signal = lastSignals(marks);
  const ends = new Float32Array(slots * CAUSES);
  for (let slot = 0; slot < slots; slot++) {
    const m = slot * MARKS;
    const at = slot * CAUSES;
    const streams = !Number.isNaN(marks[m + ASKED]) && !Number.isNaN(marks[m + DATA]);
    const used = Number.isNaN(marks[m + CONSUMED]) ? marks[m + DATA] : marks[m + CONSUMED];
    const stalled = Math.min(marks[m + STALLED], Math.max(0, used - marks[m + DATA]));
    const ready = marks[m + READY];
    const [end, known] = [marks[m + END], (mark, or) => Number.isNaN(mark) ? or : mark];
    const parts = streams
      ? [known(marks[m + PLACED], ready), marks[m + ASKED], marks[m + DATA] + stalled, used, used,
        known(marks[m + STORED], end), end]
      : [ready, ready, ready, ready, end, end, end];
    const all = [marks[m + START], Math.min(signal[slot], ready), ready, ...parts];
    let last = -Infinity;
    all.forEach((nanos, i) => {
      last = nanos > last ? nanos : last;
      ends[at + i] = last === -Infinity ? 0 : last;
    });
  }
  return ends;
}

export function runFrom(run) {
  const marks = unpack(run.marks);
  const counts = unpack(run.fullCounts);
  const flat = unpack(run.full);
  const full = [];
  for (let sm = 0, at = 0; sm < counts.length; sm++) {
    full.push(flat.subarray(at, at += 2 * counts[sm]));
  }
  const series = run.series === null ? null : {
    binNanos: run.series.binNanos, read: unpack(run.series.read), held: unpack(run.series.held),
  };
  return finishRun({ label: run.label, kind: run.kind, detail: run.detail,
    stepNanos: run.stepNanos, marks, full, series });
}

/* Adds what is derived. A slot begins where its SM's slot before it ended. */
function finishRun(run) {
  const ends = boundariesOf(run.marks);
  const begins = new Float32Array(slots);
  for (let slot = 0; slot < slots; slot++) {
    const isFirst = slot === plan.order[slotSm[slot]];
    begins[slot] = isFirst ? Math.min(0, ends[slot * CAUSES]) : ends[slot * CAUSES - 1];
  }
  return { ...run, ends, begins, used: usedBytes(run) };
}

/* Bytes used in each bin, where nobody counted those that arrived. */
export const usedBin = 1000;
function usedBytes({ marks, stepNanos }) {
  const bins = new Float32Array(Math.max(1, Math.ceil(stepNanos / usedBin)));
  for (let slot = 0; slot < slots; slot++) {
    const from = marks[slot * MARKS + DATA];
    const to = Math.max(from + 1, marks[slot * MARKS + CONSUMED]);
    if (!(plan.bytes[slot] > 0) || Number.isNaN(to)) continue;
    const rate = plan.bytes[slot] / (to - from);
    const last = Math.min(bins.length - 1, Math.floor(to / usedBin));
    for (let bin = Math.max(0, Math.floor(from / usedBin)); bin <= last; bin++) {
      const overlap = Math.min(to, (bin + 1) * usedBin) - Math.max(from, bin * usedBin);
      if (overlap > 0) bins[bin] += rate * overlap;
    }
  }
  return bins;
}

/* How a slot's time divides, by cause, nanoseconds. */
export function partsOf(run, slot) {
  let from = run.begins[slot];
  return causes.map(([name], i) => {
    const to = run.ends[slot * CAUSES + i];
    const nanos = Math.max(0, to - from);
    from = to;
    return [name, nanos];
  });
}

/* The slot that held this one up: the last of those it waits for, else the one before it on its SM. */
export function heldUpBy(run, slot) {
  const end = (one) => run.marks[one * MARKS + END];
  const last = producersOf(slot).reduce((a, b) => (a === null || end(b) > end(a) ? b : a), null);
  const before = slot > plan.order[slotSm[slot]] ? slot - 1 : null;
  if (last === null) return before;
  return before !== null && end(before) > end(last) ? before : last;
}

/* From the slot that ends last back to the step's start. */
export function criticalPath(run) {
  let slot = 0;
  for (let i = 1; i < slots; i++) {
    if (run.marks[i * MARKS + END] > run.marks[slot * MARKS + END]) slot = i;
  }
  const path = [slot];
  for (let next = heldUpBy(run, slot); next !== null && path.length < 10000; next = heldUpBy(run, next)) {
    path.push(next);
  }
  return path.reverse();
}

/* A profile's file, dropped on the page: the same checks as on the command line, in the same words. */
export function runFromFile(name, text) {
  let json;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: not JSON (${error.message}); was it written to its end?`, { cause: error });
  }
  if (json?.traceEvents !== undefined) {
    throw new Error(`${name}: is a Chrome trace, which has no marks; give the .profile.json beside it`);
  }
  if (json?.format !== "mpk-profile" || json.version !== 1) {
    throw new Error(`${name}: is no profile; give the .profile.json of mpk profile or mpk simulate`);
  }
  const steps = json.steps;
  if (!Array.isArray(steps) || steps.length === 0) throw new Error(`${name}: holds no steps`);
  const opened = steps.map((step) => Math.min(...step.sms.map((sm) => sm.opened)));
  const index = Math.min(steps.length - 1, Math.floor(steps.length / 2));
  const marks = new Float32Array(slots * MARKS).fill(NaN);
  const zero = opened[index];
  let stop = 0;
  let count = 0;
  for (const { sm, instructions } of steps[index].sms) {
    for (const one of instructions) {
      const slot = plan.order[sm] + one.instruction;
      const op = data.ops[plan.op[slot]];
      const isSame = slot < plan.order[sm + 1] && op?.kind === one.kind && op.scope === one.scope &&
        plan.tileLo[slot] === one.tileLo && plan.tileHi[slot] === one.tileHi;
      if (!isSame) {
        throw new Error(`${name}: is of another model or plan: SM ${sm} runs ${one.kind} ` +
          `${one.scope} as instruction ${one.instruction}, here ${op?.kind} ${op?.scope}`);
      }
      const times = [one.start, one.ready, one.placed, one.asked, one.data, one.consumed, one.stored,
        one.end];
      times.forEach((nanos, i) => {
        if (nanos != null) marks[slot * MARKS + i] = nanos - zero;
      });
      marks[slot * MARKS + STALLED] = one.stalledNanos;
      stop = Math.max(stop, one.end);
      count++;
    }
  }
  if (count !== slots) {
    throw new Error(`${name}: is of another model or plan: ${count} tasks, here ${slots}`);
  }
  const follows = steps[index + 1]?.step === steps[index].step + 1;
  const stepNanos = (follows ? opened[index + 1] : stop) - zero;
  const full = json.ringFull.map((list) => Float32Array.from(list
    .filter(({ from, to }) => to > zero && from < zero + stepNanos)
    .flatMap(({ from, to }) => [from - zero, to - zero])));
  const kind = json.simulated ? "predicted" : "measured";
  return finishRun({ label: name, kind, detail: `${json.device}, context ${json.context}`,
    stepNanos, marks, full, series: null });
}
