/** @file How types, call sites and ops read in messages and in the text form. Pure. */
import type { CallSite, Json, Op, TensorType } from "./types.ts";

/** Such as `f32 [T, 64]`. */
export function typeText(type: TensorType): string {
  return `${type.dtype} [${type.shape.join(", ")}]`;
}

/** Such as `llama.ts:41:7`. */
export function siteText(site: CallSite): string {
  return `${site.file}:${site.line}:${site.column}`;
}

/** Which op: `linear in layers.3.attn at llama.ts:41:7`. */
export function opText(op: Pick<Op, "kind" | "scope" | "site">): string {
  const scope = op.scope === "" ? "" : ` in ${op.scope}`;
  return `${op.kind}${scope}${op.site ? ` at ${siteText(op.site)}` : ""}`;
}

/** Whether two types are the same. */
export function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

/** Whether two shapes are the same. */
export function sameShape(a: TensorType["shape"], b: TensorType["shape"]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** Whether two JSON values are the same, whatever the order of keys. */
export function sameJson(a: Json, b: Json): boolean {
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return Object.is(a, b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const other = new Map<string, Json>(Object.entries(b));
  const entries: readonly (readonly [string, Json])[] = Object.entries(a);
  return entries.length === other.size && entries.every(([key, json]) => {
    const match = other.get(key);
    return match !== undefined && sameJson(json, match);
  });
}

/** Names close to a misspelt one, for the hint of an error: at most two edits away. */
export function closest(name: string, names: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = 3;
  for (const other of names) {
    const distance = editDistance(name, other);
    if (distance < bestDistance) [best, bestDistance] = [other, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** `base`, or `base.2`, `base.3`, … where taken. */
export function freshName(taken: { has(name: string): boolean }, base: string): string {
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${base}.${n}`;
  return name;
}
