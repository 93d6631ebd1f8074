/** @file The plan's part of two emitted sources, reviewed as code. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { defineModel } from "@mpk/dsl";
import { runPasses, type Program } from "@mpk/ir";
import { modelFromConfig } from "@mpk/models";
import { semanticsTable, scheduleTable } from "@mpk/ops";
import { plan, virtual } from "@mpk/schedule";
import { expect, test } from "vitest";
import { deviceText } from "../src/emit.ts";
import { findTarget } from "../src/index.ts";
import { emitReal } from "./emitted/decoders.ts";

/** What to do after a change that is meant. */
const hint = "if this is meant, write it anew and review it: MPK_UPDATE_GOLDENS=1 " +
  "npx -y pnpm@12 exec vitest run packages/cuda/test/goldens.test.ts";

/** One layer, two query heads on one of keys. */
const llama: Program = modelFromConfig({
  architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: 40, hidden_size: 32,
  intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1,
  head_dim: 16, max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000,
  tie_word_embeddings: true,
}, { maxTokens: 2 });

/** Nothing streamed: each SM only computes. */
const mixer: Program = defineModel(
  { name: "mixer", limits: { maxTokens: 3, maxContext: 16 } },
  (m) => {
    const x = m.weight("table", [300, 300]).lookup(m.ids());
    const [left, right] = x.split([100, 200]);
    const joined = right.softmax({ width: 50 }).concat(left.layerNorm(
      m.weight("gain", [100]), m.weight("bias", [100]), { eps: 1e-5 },
    ));
    const logits = joined.map((a, b) => (a < b ? Math.tanh(a) - 1.5 : b * b), x).last().scale(0.5);
    return { logits, token: logits.sample() };
  },
);

/** The source without the device headers, which every emission has in common. */
function planPart(program: Program, target: string): string {
  const { sharedBytes } = findTarget(target);
  const machine = virtual(2, { sharedBytes });
  const ring = { stages: 8, maxInFlight: 5, consumerWarps: 8, stageBytes: 8192, pageTokens: 64 };
  const made = plan(runPasses(program, semanticsTable), scheduleTable, machine, ring);
  const { source } = emitReal(made, target);
  const folder = new URL("../src/device/", import.meta.url);
  const headers = readdirSync(folder).filter((name) => name.endsWith(".cuh"));
  return headers.reduce((rest, name) => {
    const text = deviceText(name, { profile: false, flags: false, few: true }).trim();
    return rest.replace(text, () => `// [${name}]`);
  }, source);
}

test.each([
  ["llama", "sm_90a", llama],
  ["mixer", "sm_80", mixer],
])("%s on two SMs, for %s", (name, target, program) => {
  const golden = new URL(`./goldens/${name}.${target}.cu`, import.meta.url);
  const text = planPart(program, target);
  const isCi = (process.env["CI"] ?? "") !== "";
  if (process.env["MPK_UPDATE_GOLDENS"] === "1" && !isCi) writeFileSync(golden, text);
  expect(existsSync(golden), hint).toBe(true);
  expect(text, hint).toBe(readFileSync(golden, "utf8"));
});
