/** @file An 80-layer 70B on eight H200s: planned, and every hand-off between ranks proven. */
import { expect, test } from "vitest";
import { allRanks, rankPasses, runPasses, shard } from "@mpk/ir";
import { modelFromConfig } from "@mpk/models";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { machines, plan, verify } from "@mpk/schedule";

const llama70 = {
  architectures: ["LlamaForCausalLM"], model_type: "llama", hidden_size: 8192,
  intermediate_size: 28672, num_attention_heads: 64, num_key_value_heads: 8, vocab_size: 128256,
  num_hidden_layers: 80, max_position_embeddings: 131072, rms_norm_eps: 1e-5, rope_theta: 5e5,
  tie_word_embeddings: false,
};

test("70B on 8 ranks of 132 SMs is proven in about 13 s, at most 20, and 2 GiB", { timeout: 600_000 }, () => {
  const one = runPasses(
    shard(modelFromConfig(llama70), 8, semanticsTable), semanticsTable, rankPasses,
  );
  const all = allRanks(one, 8, semanticsTable);
  const made = plan(all.program, scheduleTable, machines.h200, { ranks: all });
  expect(made.machine.sms).toBe(1056);
  const before = process.cpuUsage();
  const { ok, laws } = verify(made, scheduleTable);
  const { user, system } = process.cpuUsage(before);
  const seconds = (user + system) / 1e6;
  const mebibytes = process.resourceUsage().maxRSS / 1024;
  const remote = laws.find(({ name }) => name === "memory")?.checked["triggers to other ranks"];
  console.log(
    `${made.tasks.count} tasks, ${remote} triggers to other ranks: proved in ${seconds.toFixed(1)} s ` +
      `of processor time, ${mebibytes.toFixed(0)} MiB at most`,
  );
  expect(ok).toBe(true);
  // Slack for slow machines.
  expect(seconds).toBeLessThan(3 * 20);
  expect(mebibytes).toBeLessThan(2048);
});
