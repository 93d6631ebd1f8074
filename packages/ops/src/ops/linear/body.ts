/** @file linear: its task in the kernel. Weights as the A operand of mma.m16n8k16. */
import type { OpBody } from "@mpk/cuda";
import {
  anyFlagged, fixedRows, flagView, inputOf, outputOf, templateAt,
} from "../../shared/body.ts";
import { type LinearAttrs, linearInputs } from "./semantics.ts";
import { isWide, mostStepTokens } from "./wide.ts";

// Sums of squares scale products: x is multiplied as it is.
const norms = { none: 0, rms: 1, layer: 2, squares: 0 } as const;

export const body: OpBody<LinearAttrs> = {
  template: templateAt(import.meta.url),
  run: (op) => (isWide(op) ? "linear_wide" : "linear"),
  view(op, env) {
    const { attrs } = op;
    const roles = linearInputs(attrs, op.inputs.length);
    const x = inputOf(env, 0);
    const out = outputOf(env);
    const layout = env.layout;
    if (layout === null) throw new RangeError("a linear streams its weights, but has no layout");
    if (attrs.round === null && x.dtype !== "bf16") {
      throw new RangeError("a linear on the GPU multiplies bf16: cast x to bf16 before it");
    }
    if (env.maxTokens > mostStepTokens) {
      throw new RangeError(
        `a linear takes at most ${mostStepTokens} tokens a step, not ${env.maxTokens}`,
      );
    }
    if (roles.squares !== null && !isWide(op)) {
      throw new RangeError(
        "a linear on the GPU takes sums of squares where steps have more than 8 tokens, and none of " +
          "its last row alone; give it the norm itself",
      );
    }
    const squares = roles.squares === null ? null : inputOf(env, roles.squares);
    const gain = roles.gain === null ? null : inputOf(env, roles.gain);
    const products = Array.from({ length: attrs.groups }, (_, g) => `acc[${g}]`);
    const values = roles.extras.map((_, i) => `value[${i}]`);
    // Of bf16, rows start at 16 bytes and are whole pieces of as many.
    const wholeX = [layout.k, x.stride, x.column].every((n) => n % 8 === 0);
    return {
      k: layout.k,
      n: layout.n,
      groups: attrs.groups,
      blocksPerChunk: layout.blocksPerChunk,
      chunksPerTile: layout.chunksPerTile,
      chunksPerSlice: layout.chunksPerSlice,
      tilesPerGroup: layout.tilesPerGroup,
      folds: layout.folds,
      width: 16 / attrs.groups / layout.folds,
      norm: norms[attrs.norm?.kind ?? "none"],
      eps: env.float(attrs.norm?.eps ?? 0),
      // Of a value with one row, the last is the only one.
      lastRow: x.lastRow || (attrs.lastRow && fixedRows(x) !== 1),
      // Four elements at once: rows must start at 16 bytes (f32) or 8 bytes (bf16).
      vectorX: layout.k % 4 === 0 && x.stride % 4 === 0 && x.column % 4 === 0,
      wide: isWide(op),
      copyX: x.dtype === "bf16" && wholeX,
      wholeX,
      blocks: squares?.columns ?? 0,
      squaresStride: squares?.stride ?? 0,
      squaresWord: squares?.word ?? 0,
      xRows: fixedRows(x),
      xStride: x.stride,
      outStride: out.stride,
      xWord: x.word,
      outWord: out.word,
      gainWord: gain?.word ?? 0,
      biasWord: roles.bias ?? 0,
      xType: env.type(x),
      few: env.maxTokens > 1 && !isWide(op),
      fewXType: x.few !== undefined ? "u16" : env.type(x),
      outType: env.type(out),
      outTerms: out.few === "terms",
      gainType: gain === null ? "u16" : env.type(gain),
      extraRoom: Math.max(1, roles.extras.length),
      extras: roles.extras.map((i) => env.element(inputOf(env, i), "row", "column")),
      epilogue: env.expression(attrs.epilogue, [...products, ...values]),
      flags: env.flags,
      flagged: anyFlagged(env),
      xFlag: flagView(x),
      outFlag: flagView(out),
      extrasOfOne: roles.extras.map((i) => {
        const extra = inputOf(env, i);
        return {
          ...flagView(extra),
          input: extra.word,
          type: env.type(extra),
          element: env.elementOfOne(extra, "column"),
        };
      }),
    };
  },
};
