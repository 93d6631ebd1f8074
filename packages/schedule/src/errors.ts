/** @file Errors of the scheduler, and how an op is named in them. */
import type { Op } from "@mpk/ir";

/** A program, machine or table that cannot be planned. The message names the culprit and a fix. */
export class PlanError extends Error {
  override readonly name = "PlanError";
}

/** `linear (layers.3.mlp) at llama.ts:41`: how messages name an op. */
export function describeOp(op: Op): string {
  const scope = op.scope === "" ? "" : ` (${op.scope})`;
  const site = op.site === null ? "" : ` at ${op.site.file}:${op.site.line}`;
  return `${op.kind}${scope}${site}`;
}
