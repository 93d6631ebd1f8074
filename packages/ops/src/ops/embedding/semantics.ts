/** @file embedding: what it means. */
import { ShapeError, floatsOf, intsOf } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { noAttrs } from "../../shared/attrs.ts";
import type { NoAttrs } from "../../shared/attrs.ts";
import { resultOf } from "../../shared/rows.ts";
import {
  inputAt,
  requireFloat,
  requireInputs,
  requireTokenVector,
  showType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** embedding has no attributes. */
export type EmbeddingAttrs = NoAttrs;

/** ids i32 [T], table [V, H] → f32 [T, H]: row `ids[t]` of the table for each token. */
export const semantics: OpSemantics<EmbeddingAttrs> = {
  name: "embedding",
  summary: "Looks up one row of a table for each token id.",
  traits: traits(),
  parseAttrs: noAttrs,
  infer(_attrs, inputs) {
    requireInputs(inputs, 2, 2, "ids, table");
    requireTokenVector(inputAt(inputs, 0, "ids"), "ids");
    const table = inputAt(inputs, 1, "table");
    requireFloat(table, "table");
    const [rows, width] = table.shape;
    if (table.shape.length !== 2 || typeof rows !== "number" || typeof width !== "number") {
      throw new ShapeError(`table must be [vocabulary, width], got ${showType(table)}`);
    }
    return [{ dtype: "f32", shape: ["T", width] }];
  },
  /** Throws `ShapeError` for an id outside the table. */
  evaluate(attrs, inputs, ctx) {
    const table = inputAt(inputs, 1, "table");
    const ids = intsOf(inputAt(inputs, 0, "ids"));
    const data = floatsOf(table);
    const [vocabulary = 0, width = 0] = table.shape;
    const out = new Float32Array(ids.length * width);
    ids.forEach((id, token) => {
      checkId(id, vocabulary);
      out.set(data.subarray(id * width, (id + 1) * width), token * width);
    });
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};

/** Throws `ShapeError` unless 0 <= id < vocabulary. */
export function checkId(id: number, vocabulary: number): void {
  if (id >= 0 && id < vocabulary) return;
  const rows = `0 to ${vocabulary - 1}`;
  throw new ShapeError(`token id ${id} is out of range: the table has rows ${rows}`);
}
