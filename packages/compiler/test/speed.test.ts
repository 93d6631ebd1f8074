/** @file How long compiling and proving take: seconds for the largest models, linear in layers. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { scheduleTable } from "@mpk/ops";
import { verify } from "@mpk/schedule";
import { compile, planModel } from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-speed-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const qwen3 = {
  architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", hidden_size: 4096, head_dim: 128,
  intermediate_size: 12288, num_attention_heads: 32, num_key_value_heads: 8, vocab_size: 151936,
  num_hidden_layers: 36, max_position_embeddings: 40960, rms_norm_eps: 1e-6, rope_theta: 1e6,
  tie_word_embeddings: false,
};
const llama70 = {
  architectures: ["LlamaForCausalLM"], model_type: "llama", hidden_size: 8192,
  intermediate_size: 28672, num_attention_heads: 64, num_key_value_heads: 8, vocab_size: 128256,
  num_hidden_layers: 80, max_position_embeddings: 131072, rms_norm_eps: 1e-5, rope_theta: 5e5,
  tie_word_embeddings: false,
};

/** From config.json to verified plan, source and Manifest: seconds of processor time. */
async function compileSeconds(config: object): Promise<number> {
  const file = join(dir, "config.json");
  writeFileSync(file, JSON.stringify(config));
  const before = process.cpuUsage();
  const compiled = await compile(file, { target: "sm_90a" });
  const { user, system } = process.cpuUsage(before);
  expect(compiled.verification.ok).toBe(true);
  expect(compiled.source).toContain("mpk_decode");
  return (user + system) / 1e6;
}

test("8B takes at most 4 s, an 80-layer 70B at most 8 s, both 1 GiB", async () => {
  // The first run also loads and compiles this program's own code.
  const [small, large] = [await compileSeconds(qwen3), await compileSeconds(llama70)];
  const mebibytes = process.resourceUsage().maxRSS / 1024;
  console.log(
    `compiled 8B in ${small.toFixed(2)} s and 70B in ${large.toFixed(2)} s of processor time, ` +
      `${mebibytes.toFixed(0)} MiB at most`,
  );
  expect(small).toBeLessThan(4);
  expect(large).toBeLessThan(8);
  expect(mebibytes).toBeLessThan(1024);
});

/** What a plan of a config for an H200 costs to prove, all laws, nothing left out. */
async function verifySeconds(config: object): Promise<number> {
  const file = join(dir, "config.json");
  writeFileSync(file, JSON.stringify(config));
  const { plan } = await planModel(file, { target: "sm_90a" });
  expect(plan.machine.sms).toBe(132);
  const before = process.cpuUsage();
  const { ok } = verify(plan, scheduleTable);
  const { user, system } = process.cpuUsage(before);
  expect(ok).toBe(true);
  return (user + system) / 1e6;
}

test("proving 8B takes about 0.5 s and 70B 1 s: at most 1 and 5 s, with slack for slow machines", async () => {
  const [small, large] = [await verifySeconds(qwen3), await verifySeconds(llama70)];
  const mebibytes = process.resourceUsage().maxRSS / 1024;
  console.log(
    `proved 8B in ${small.toFixed(2)} s and 70B in ${large.toFixed(2)} s of processor time, ` +
      `${mebibytes.toFixed(0)} MiB at most`,
  );
  const slack = 3;
  expect(small).toBeLessThan(1 * slack);
  expect(large).toBeLessThan(5 * slack);
  expect(mebibytes).toBeLessThan(2048);
});

test("cost grows linearly with layers", async () => {
  const layers = [8, 16, 32, 64, 128];
  const seconds: number[] = [];
  for (const num_hidden_layers of layers) {
    seconds.push(await compileSeconds({ ...qwen3, num_hidden_layers }));
  }
  const told = seconds.map((s) => s.toFixed(2)).join(", ");
  console.log(`compiled ${layers.join(", ")} layers in ${told} s`);
  const [, , at32 = 0, , at128 = 0] = seconds;
  // Four times the layers: at most 4 times the cost if linear, 16 times if quadratic.
  expect(at128 / at32).toBeLessThan(7);
});
