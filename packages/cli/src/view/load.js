/** @file The page's data: long lists unpacked, names looked up, dependencies by slot. */
export const el = (id) => document.getElementById(id);
export const data = JSON.parse(el("data").textContent);

export function unpack(text) {
  const bytes = Uint8Array.from(atob(text.slice(4)), (c) => c.charCodeAt(0));
  return text.startsWith("i32:") ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer);
}
const unpackLists = ({ start, items }) => ({ start: unpack(start), items: unpack(items) });

export const plan = {
  order: unpack(data.order), op: unpack(data.op), bytes: unpack(data.bytes),
  tileLo: unpack(data.tileLo), tileHi: unpack(data.tileHi),
  waits: unpackLists(data.waits), signals: unpackLists(data.signals),
  reads: unpackLists(data.reads), writes: unpackLists(data.writes),
};
export const slots = plan.op.length;
export const START = 0, READY = 1, PLACED = 2, ASKED = 3, DATA = 4, CONSUMED = 5, STORED = 6, END = 7,
  STALLED = 8, MARKS = 9;

/* Which SM a slot is of. */
export const slotSm = new Int32Array(slots);
for (let sm = 0; sm < data.sms; sm++) slotSm.fill(sm, plan.order[sm], plan.order[sm + 1]);

/* Slots that signal, and that await, each event; and slots of each op. */
function byItem({ start, items }) {
  const found = new Map();
  for (let slot = 0; slot < slots; slot++) {
    for (let i = start[slot]; i < start[slot + 1]; i++) {
      const list = found.get(items[i]);
      if (list === undefined) found.set(items[i], [slot]);
      else list.push(slot);
    }
  }
  return found;
}
export const signallers = byItem(plan.signals);
const waiters = byItem(plan.waits);
export const slotsOfOp = data.ops.map(() => []);
for (let slot = 0; slot < slots; slot++) slotsOfOp[plan.op[slot]].push(slot);

const units = ["B", "KiB", "MiB", "GiB"];
export function bytesText(value) {
  let unit = 0;
  while (value >= 1024 && unit < 3) { value /= 1024; unit++; }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
export const microsText = (nanos) => `${(nanos / 1000).toFixed(2)} µs`;
export const opText = (op) => data.ops[op].name + (data.ops[op].scope ? ` · ${data.ops[op].scope}` : "");

/* Ranges of values that a slot reads or writes. */
export function regions({ start, items }, slot) {
  const found = [];
  for (let i = start[slot]; i < start[slot + 1]; i += 3) {
    found.push({ value: items[i], lo: items[i + 1], hi: items[i + 2] });
  }
  return found;
}
const overlaps = (a, b) => a.value === b.value && a.lo < b.hi && b.lo < a.hi;

/* Slots of which a slot uses results: those that signal it and write what it reads, if any do. */
export function producersOf(slot) {
  const { start, items } = plan.waits;
  const read = regions(plan.reads, slot);
  const found = new Set();
  for (let i = start[slot]; i < start[slot + 1]; i++) {
    const all = (signallers.get(items[i]) ?? []).filter((one) => one !== slot);
    const direct = all.filter((one) =>
      regions(plan.writes, one).some((w) => read.some((r) => overlaps(r, w))));
    for (const one of direct.length > 0 ? direct : all) found.add(one);
  }
  return [...found];
}
export function consumersOf(slot) {
  const { start, items } = plan.signals;
  const written = regions(plan.writes, slot);
  const found = new Set();
  for (let i = start[slot]; i < start[slot + 1]; i++) {
    const all = (waiters.get(items[i]) ?? []).filter((one) => one !== slot);
    const direct = all.filter((one) =>
      regions(plan.reads, one).some((r) => written.some((w) => overlaps(r, w))));
    for (const one of direct.length > 0 ? direct : all) found.add(one);
  }
  return [...found];
}
