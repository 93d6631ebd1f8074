/** @file Bad input: the message names the culprit, the exit code says whose turn it is. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { tinyConfig, writeCheckpoint, type Spoilt } from "../../compiler/test/checkpoint.ts";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-bad-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** No stack trace, a fix, and the culprit by name. */
async function expectRefused(args: readonly string[], message: RegExp, code = 2) {
  const ran = await mpk(args);
  expect(ran.err).toMatch(message);
  expect(ran.err).toMatch(/^error: /);
  expect(ran.err).toMatch(/\n {2}fix: \S/);
  expect(ran.err).not.toMatch(/\n\s+at /);
  expect(ran.code).toBe(code);
}

const without = (field: string) =>
  Object.fromEntries(Object.entries(tinyConfig).filter(([name]) => name !== field));
const q = "model.layers.1.self_attn.q_proj.weight";
const zeros = (dtype: string, shape: readonly number[], elementBytes: number) => ({
  dtype,
  shape,
  bytes: new Uint8Array(elementBytes * shape.reduce((a, b) => a * b, 1)),
});

const checkpoints: readonly [string, Spoilt, RegExp][] = [
  ["no weights", { leaveOut: ["model.safetensors"] }, /no weights: neither model.safetensors/],
  ["truncated weights", { cut: 9000 }, /model.safetensors: tensor ".*": .*truncated/],
  ["a header cut off", { cut: 5 }, /model.safetensors: truncated: 8 bytes expected/],
  [
    "a wrong dtype",
    { tensors: (good) => ({ ...good, [q]: zeros("I8", [32, 32], 1) }) },
    /tensor "model.layers.1.self_attn.q_proj.weight": dtype is I8/,
  ],
  [
    "a wrong shape",
    { tensors: (good) => ({ ...good, [q]: zeros("BF16", [16, 32], 2) }) },
    /"model.layers.1.self_attn.q_proj.weight".*\[16, 32\].*expected \[32, 32\]/,
  ],
  [
    "a missing tensor",
    { tensors: (good) => Object.fromEntries(Object.entries(good).filter(([n]) => n !== q)) },
    /tensor "model.layers.1.self_attn.q_proj.weight" is missing/,
  ],
  ["no config.json", { leaveOut: ["config.json"] }, /config.json is missing/],
  ["too many layers", { config: { ...tinyConfig, num_hidden_layers: 1e9 } }, /num_hidden_layers/],
  ["tensors left over", { config: { ...tinyConfig, num_hidden_layers: 1 } }, /no place for 9.*layers\.1/],
  ["a config without sizes", { config: without("hidden_size") }, /config.json: hidden_size/],
  [
    "contradictory heads",
    { config: { ...tinyConfig, num_key_value_heads: 3 } },
    /num_key_value_heads: is 3/,
  ],
  [
    "an unknown architecture",
    { config: { ...tinyConfig, architectures: ["MambaForCausalLM"] } },
    /unknown architecture "MambaForCausalLM"[^]*LlamaForCausalLM/,
  ],
];

test.each(checkpoints)("%s", async (name, spoilt, message) => {
  const folder = writeCheckpoint(join(dir, name.replaceAll(" ", "-")), spoilt);
  await expectRefused(["run", folder, "--prompt-ids", "1,2", "--device", "virtual"], message);
});

const good = writeCheckpoint(join(dir, "good"));
const runGood = (...args: string[]) => ["run", good, "--device", "virtual", ...args];
const long = Array(64).fill(1).join(",");

test.each<[string, readonly string[], RegExp]>([
  ["logits as text", runGood("--prompt-ids", "1", "--logits"), /--logits has no place/],
  ["a folder in /proc", ["compile", good, "--out", "/proc/x"], /cannot write/],
  ["no prompt", runGood(), /there is no prompt/],
  ["two prompts", runGood("--prompt", "a", "--prompt-ids", "1"), /both given/],
  ["an id out of range", runGood("--prompt-ids", "1,259"), /token 1 is 259, outside.*0\.\.258/],
  ["a prompt longer than the context", runGood("--prompt-ids", long), /64 tokens.*holds 64/],
  [
    "a context longer than the model's",
    runGood("--prompt-ids", "1", "--max-context", "65"),
    /max_position_embeddings: is 64, a context of 65/,
  ],
  ["ids that are none", runGood("--prompt-ids", "1,x"), /--prompt-ids.*'1,x'.*token ids/],
  ["half a token", runGood("--prompt-ids", "1", "--max-tokens", "0.5"), /whole number from 1/],
  ["an unknown device", runGood("--prompt-ids", "1", "--device", "tpu"), /auto, cuda, emulated, virtual/],
  ["an unknown option", ["compile", good, "--out", dir, "--traget", "sm_80"], /--traget/],
  ["no such model", ["verify", join(dir, "nothing")], /nothing: no such file.*\n.*one of llama-3.2-1b, /],
  ["a shape without weights", ["run", "qwen3-0.6b", "--prompt-ids", "1"], /qwen3-0.6b is not a checkpoint/],
  ["an unknown target", ["compile", good, "--out", dir, "--target", "sm_50"], /"sm_50"/],
  ["too many SMs", ["verify", good, "--sms", "300"], /--sms is 300/],
  ["a step beyond the kernel's", ["compile", good, "--out", dir, "--max-tokens-per-step", "65"],
    /--max-tokens-per-step is 65, expected a whole number from 1 to 64/],
  ["an unknown command", ["rnu"], /unknown command 'rnu'/],
])("%s", async (_, args, message) => expectRefused(args, message));

test("a model.ts that is broken, or exports something else, is named", async () => {
  const write = (name: string, text: string) => {
    writeFileSync(join(dir, name), text);
    return ["verify", join(dir, name)];
  };
  await expectRefused(write("other.mjs", "export default 3;"), /default export is not a Program/);
  await expectRefused(write("empty.mjs", ""), /default export is missing/);
  await expectRefused(write("broken.mjs", "export default ("), /broken.mjs: /);
  const throws = "const a = undefined;\nexport default a.b;";
  await expectRefused(write("throws.mjs", throws), /throws.mjs:2: .*undefined/);
  await expectRefused(write("plan.json", '{"format": "mpk-plan"}'), /plan.json: /);
  await expectRefused(write("config.json", "{"), /config.json: /);
});

test("a saved plan is no model, and its shape is decided", async () => {
  const plan = join(dir, "saved.json");
  const out = join(dir, "saved");
  expect((await mpk(["compile", good, "--out", out, "--save-plan", plan])).code).toBe(0);
  await expectRefused(["compile", plan, "--out", out], /saved.json is a saved plan, not a model/);
  await expectRefused(["run", plan, "--prompt-ids", "1"], /saved.json is a saved plan, not a model/);
  for (const flag of ["--sms", "--max-context", "--max-tokens-per-step"]) {
    await expectRefused(["verify", plan, flag, "4"], new RegExp(`a saved plan: ${flag} cannot`));
  }
  await expectRefused(["inspect", plan, "--target", "sm_80"], /a saved plan: --target cannot/);
});

test("a saved plan with too little room for an op's chunks breaks a law", async () => {
  const plan = join(dir, "little.json");
  await mpk(["compile", good, "--out", join(dir, "little"), "--save-plan", plan]);
  const json = JSON.parse(readFileSync(plan, "utf8"));
  for (const key of ["activationBytes", "partialBytes"]) {
    writeFileSync(plan, JSON.stringify({ ...json, ring: { ...json.ring, [key]: 0 } }));
    const { code, out, err } = await mpk(["verify", plan]);
    expect({ code, err }).toEqual({ code: 1, err: "" });
    expect(out).toMatch(/law 5 +VIOLATED +streams[^]*linear.*0 bytes of .* too few/);
  }
  // What cannot run is not predicted either.
  for (const command of ["simulate", "view", "explain"]) {
    await expectRefused([command, plan], /little.json: breaks the law of .*mpk verify/s);
  }
});

test("a saved plan of more tokens a step than there can be is refused, and hangs nothing", async () => {
  const plan = join(dir, "tokens.json");
  await mpk(["compile", good, "--out", join(dir, "tokens"), "--save-plan", plan]);
  const many = readFileSync(plan, "utf8").replace("tokens <= 8, context <= 64",
    "tokens <= 1000000, context <= 1000000");
  writeFileSync(plan, many);
  await expectRefused(["verify", plan], /tokens.json: tokens <= 1000000: .*at most 64/);
});

test("a context shorter than a step is taken whole, unless a longer step is asked for", async () => {
  const folder = writeCheckpoint(join(dir, "short"), {
    config: { ...tinyConfig, max_position_embeddings: 2 },
  });
  const run = ["run", folder, "--device", "virtual", "--prompt-ids", "1"];
  expect(await mpk(run)).toMatchObject({ code: 0 });
  await expectRefused([...run, "--max-tokens-per-step", "3"], /3 tokens a step.*context of 2/);
});

test("JSON that would hang, overflow or fill memory is refused before it is built", async () => {
  const at = (name: string, text: string) => {
    const path = join(dir, name);
    writeFileSync(path, text);
    return ["verify", path];
  };
  await expectRefused(at("deep.json", "[".repeat(1e6)), /deep.json: nested deeper than 64/);
  const deepField = `{"hidden_size": ${"[".repeat(1e5)}${"]".repeat(1e5)}}`;
  await expectRefused(at("field.json", deepField), /field.json: nested deeper than 64/);
  await expectRefused(at("wide.json", `[${",".repeat(9e6)}]`), /more than 4194304 values/);
  await expectRefused(at("large.json", " ".repeat(17e6)), /17000000 bytes, at most 16777216/);
  await expectRefused(at("odd.json", '{"hidden_size": "96"}'),
    /odd.json: hidden_size: expected a whole number from 1, got "96"/);
  const pipe = join(dir, "pipe.json");
  execFileSync("mkfifo", [pipe]);
  await expectRefused(["verify", pipe], /pipe.json: not a regular file/);
});

test("names from files do not steer the terminal", async () => {
  const path = join(dir, "colour.json");
  writeFileSync(path, JSON.stringify({ ...tinyConfig, hidden_act: "\u009b31mred" }));
  const { err, code } = await mpk(["verify", path]);
  expect(code).toBe(2);
  expect(err).toContain("\uFFFD31mred");
  expect(err).not.toMatch(/[^\P{Cc}\n]/u);
});

test("a context longer than memory is refused with numbers", async () => {
  const config = join(dir, "long.json");
  const large = { hidden_size: 4096, head_dim: 128, num_hidden_layers: 4, vocab_size: 32000 };
  const positions = { max_position_embeddings: 100_000_000 };
  writeFileSync(config, JSON.stringify({ ...tinyConfig, ...large, ...positions }));
  const args = ["compile", config, "--out", join(dir, "long"), "--max-context", "100000000"];
  await expectRefused(args, /context of 100000000 tokens does not fit h200: 190.73 GiB of KV/);
});

test("what this machine lacks is no fault of the input: exit code 3", async () => {
  await expectRefused(["run", good, "--prompt-ids", "1", "--device", "cuda"], /no CUDA driver/, 3);
  await expectRefused(["compile", good, "--out", join(dir, "out"), "--build"], /no CUDA comp/, 3);
});

test("without a tokenizer a text prompt is refused, ids are not", async () => {
  const bare = writeCheckpoint(join(dir, "bare"), { leaveOut: ["tokenizer.json"] });
  const run = ["run", bare, "--device", "virtual", "--max-tokens", "2"];
  await expectRefused([...run, "--prompt", "a"], /tokenizer.json is missing/);
  expect(await mpk([...run, "--prompt-ids", "1,2"])).toMatchObject({ code: 0, err: "" });
});

test("a folder that cannot be written is named", async () => {
  const file = join(dir, "file");
  writeFileSync(file, "");
  await expectRefused(["compile", good, "--out", join(file, "below")], /cannot write: .*file/);
  expect(readFileSync(file, "utf8")).toBe("");
});
