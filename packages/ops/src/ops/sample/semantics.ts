/** @file sample: what it means. */
import { ShapeError } from "@mpk/ir";
import type { EvalContext, OpSemantics } from "@mpk/ir";
import { noAttrs } from "../../shared/attrs.ts";
import type { NoAttrs } from "../../shared/attrs.ts";
import { floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs, showType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";
import { bestOfPairs } from "../blockMax/semantics.ts";
import { chooseToken } from "./choose.ts";

/** sample has no attributes: how to sample is step data. */
export type SampleAttrs = NoAttrs;

/**
 * The token chosen from logits [V] by the step's sampling; `pairs`: their `blockMax`, which spares
 * the greedy choice a look at every logit. See `chooseToken`.
 */
export function sampleToken(
  logits: Float32Array,
  pairs: Float32Array | null,
  ctx: Pick<EvalContext, "sampling" | "inputs" | "tokens">,
): number {
  const greedy = Math.fround(ctx.sampling.temperature) === 0;
  if (greedy && pairs !== null) return bestOfPairs(pairs);
  return chooseToken(logits, ctx.sampling, ctx.inputs.positions[ctx.tokens - 1] ?? 0);
}

/** logits [1, V], optionally their blockMax → i32 [1]: the next token. Opens the next step. */
export const semantics: OpSemantics<SampleAttrs> = {
  name: "sample",
  summary: "Chooses the next token from logits and opens the next step.",
  traits: traits("effect"),
  parseAttrs: noAttrs,
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, 2, "logits, their blockMax");
    const logits = inputAt(inputs, 0, "logits");
    if (floatActivation(logits, "logits").rows !== 1) {
      throw new ShapeError(`logits must be [1, V], got ${showType(logits)}; take lastRow first`);
    }
    const pairs = inputs[1];
    if (pairs !== undefined) {
      const { rows, columns } = floatActivation(pairs, "blockMax");
      if (rows !== 1 || columns % 2 !== 0 || pairs.dtype !== "f32") {
        throw new ShapeError(`blockMax must be f32 [1, pairs · 2], got ${showType(pairs)}`);
      }
    }
    return [{ dtype: "i32", shape: [1] }];
  },
  evaluate(attrs, inputs, ctx) {
    const pairs = inputs.length > 1 ? floatsAt(inputs, 1) : null;
    const token = sampleToken(floatsAt(inputs, 0), pairs, ctx);
    return resultOf(semantics, attrs, inputs, ctx, Int32Array.of(token));
  },
};
