/** @file What op bodies share: reading their template, and naming operands. */
import { readFileSync } from "node:fs";
import type { BodyEnv, BodyOperand } from "@mpk/cuda";

/** Reads a template beside the calling module when it is asked for. */
export function templateAt(moduleUrl: string, file = "./body.cu.njk"): () => string {
  return () => readFileSync(new URL(file, moduleUrl), "utf8");
}

/** The template of ops that compute each output element by itself. */
export const elementsTemplate = templateAt(import.meta.url, "./elements.cu.njk");
/** The template of ops over runs of columns: norms and softmax. */
export const runsTemplate = templateAt(import.meta.url, "./runs.cu.njk");

export function inputOf(env: BodyEnv, index: number): BodyOperand {
  const operand = env.inputs[index];
  if (operand === undefined) throw new RangeError(`the op has no input ${index}`);
  return operand;
}

export function outputOf(env: BodyEnv): BodyOperand {
  const operand = env.outputs[0];
  if (operand === undefined) throw new RangeError("the op has no output");
  return operand;
}

/** The kernel takes positions from the step alone. Throws `RangeError` for anything else. */
export function requirePositions(env: BodyEnv, index: number): void {
  if (inputOf(env, index).step !== "positions") {
    throw new RangeError(`input ${index} must be the step's positions; pass model.positions()`);
  }
}

/** `1` for a value with one row, `0` where rows are the step's tokens. */
export function fixedRows(operand: BodyOperand): 0 | 1 {
  return operand.rows === 1 ? 1 : 0;
}

/** Whether an operand is flagged, and the index of its copy's word. */
export function flagView({ flag }: BodyOperand): { flagged: boolean; word: number } {
  return { flagged: flag !== null, word: flag ?? 0 };
}

/** Whether steps of one token hand over any operand by flags. */
export const anyFlagged = (env: BodyEnv): boolean =>
  [...env.inputs, ...env.outputs].some(({ flag }) => flag !== null);

/**
 * View of `elements.cu.njk`: `element` is C++ text over `row` and `column`, `elementOfOne` its like
 * for steps of one token, over `column`; ops without it take no flagged values.
 */
export function elementsView(env: BodyEnv, tile: number, element: string, elementOfOne = "") {
  const out = outputOf(env);
  return {
    flags: env.flags,
    flagged: anyFlagged(env),
    out: flagView(out),
    elementOfOne,
    columns: out.columns,
    tile,
    rows: fixedRows(out),
    outType: env.type(out),
    outTerms: out.few === "terms",
    outStride: out.stride,
    outWord: out.word,
    element,
  };
}

/** View of `runs.cu.njk`. `finish` is C++ text over `i` and `value`. */
export function runsView(
  env: BodyEnv,
  kind: "rms" | "layer" | "softmax",
  width: number,
  eps: number,
  finish: string,
) {
  const x = inputOf(env, 0);
  const out = outputOf(env);
  return {
    kind: { rms: 1, layer: 2, softmax: 3 }[kind],
    width,
    eps: env.float(eps),
    rows: fixedRows(out),
    xType: env.type(x),
    xStride: x.stride,
    xWord: x.word,
    firstRow: x.lastRow ? "c.tokens - 1" : "0",
    outType: env.type(out),
    outStride: out.stride,
    outWord: out.word,
    finish,
  };
}
