/** @file Runs one generation to its asked end, and tells it apart from others. */
import { createHash } from "node:crypto";
import type { GenerateRequest, Session, Summary } from "@mpk/runtime";
import type { Ending } from "./requests.ts";

export interface Ran {
  readonly tokens: readonly number[];
  /** Null where the reader left. */
  readonly summary: Summary | null;
}

/** @throws what the session throws. */
export async function runRequest(
  session: Session,
  request: GenerateRequest,
  ending: Ending = { kind: "tokens" },
): Promise<Ran> {
  const controller = new AbortController();
  const generation = session.generate({ ...request, signal: controller.signal });
  const tokens: number[] = [];
  for await (const id of generation) {
    tokens.push(id);
    if (ending.kind === "tokens" || tokens.length < ending.after) continue;
    if (ending.kind === "leave") return { tokens, summary: null };
    controller.abort();
  }
  return { tokens, summary: generation.summary() };
}

/** Of tokens and, to the last bit, logits. */
export function digestOf(tokens: readonly number[], logits: readonly Float32Array[] = []): string {
  const hash = createHash("sha256").update(tokens.join());
  for (const row of logits) hash.update(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
  return hash.digest("hex").slice(0, 32);
}

/** Of two rows: |a - b| / |b|, both as vectors. NaN anywhere gives NaN. */
export function relativeDistance(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] ?? NaN) - (b[i] ?? NaN)) ** 2;
    size += (b[i] ?? NaN) ** 2;
  }
  return Math.sqrt(difference / size);
}
