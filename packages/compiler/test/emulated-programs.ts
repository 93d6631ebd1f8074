/** @file Programs and targets that between them reach all of the emitted code. */
import type { Program } from "@mpk/ir";
import {
  attention, head, linear, writer, type AttentionForm,
} from "../../cuda/test/emitted/programs.ts";

/** A program of one attention, its result in the logits. */
export function attending(form: AttentionForm): Program {
  const w = writer(`attention-${form.headDim}`, { maxTokens: 3, maxContext: 128 });
  const x = linear(w, "qkv", w.embed(300, 64), (form.heads + 2 * form.kvHeads) * form.headDim, {
    norm: "rms",
  });
  return head(w, linear(w, "o", w.cast(attention(w, x, form)), 64), 40);
}

/** One target of each kind: bulk copies, with many and with few keys held, and cp.async. */
export const paths = ["sm_90a", "sm_120", "sm_80", "sm_89"] as const;
