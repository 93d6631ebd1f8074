/** @file Programs and targets that between them reach all of the emitted code. */
import { runPasses, type Pass, type Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import {
  attention, head, linear, passed, writer, type AttentionForm,
} from "../../cuda/test/emitted/programs.ts";

/** A program of one attention, its result in the logits. */
export function attending(
  form: AttentionForm, limits = { maxTokens: 3, maxContext: 128 },
): Program {
  const w = writer(`attention-${form.headDim}`, limits);
  const x = linear(w, "qkv", w.embed(300, 64), (form.heads + 2 * form.kvHeads) * form.headDim, {
    norm: "rms",
  });
  return head(w, linear(w, "o", w.cast(attention(w, x, form)), 64), 40);
}

/** One target of each kind: bulk copies, with many and with few keys held, and cp.async. */
export const paths = ["sm_90a", "sm_120", "sm_80", "sm_89"] as const;

/** Ids for programs that have 40 of them. */
export const prompt = (tokens: number): readonly number[] =>
  Array.from({ length: tokens }, (_, i) => (i * 7 + 3) % 40);

/** A decoder: every row of a step is seen by the steps after it. `first` are passes before all others. */
export function decoder(maxTokens: number, headDim: number, first: readonly Pass[] = []): Program {
  const w = writer("decoder", { maxTokens, maxContext: 160 });
  let x = w.embed(300, 96);
  for (let i = 0; i < 2; i++) {
    w.inScope(`layers.${i}`);
    const qkv = linear(w, "qkv", x, 4 * headDim, { norm: "rms" });
    const mixed = w.cast(attention(w, qkv, { heads: 2, kvHeads: 1, headDim, qkNorm: true }));
    x = linear(w, "o", mixed, 96, { epilogue: "a0 + a1", extras: [x] });
    const gated = linear(w, "up", x, 320, {
      groups: 2, norm: "rms", epilogue: "a0 * sigmoid(a0) * a1", out: "bf16",
    });
    x = linear(w, "down", gated, 96, { epilogue: "a0 + a1", extras: [x] });
  }
  w.inScope("");
  return passed(runPasses(head(w, x, 40), semanticsTable, first));
}
