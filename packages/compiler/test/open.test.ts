/** @file compile() and open(): what users of the library call. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterpreter } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import { MpkError, openWeights, parseManifest, toBf16Words } from "@mpk/runtime";
import { afterAll, expect, test } from "vitest";
import { fakeFunctions, fakeNative } from "../../runtime/test/fake-driver.ts";
import { compile, loadModel, open } from "../src/index.ts";
import { tinyConfig, writeCheckpoint } from "./checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-open-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const checkpoint = writeCheckpoint(join(dir, "tiny"));

test("three lines from a checkpoint to text; several prompts in one session", async () => {
  await using model = await open(checkpoint, { device: "virtual", sms: 2 });
  const read = async (prompt: string) => {
    const text = model.text(prompt, { maxTokens: 5, eosIds: [] });
    let got = "";
    for await (const piece of text) got += piece;
    return { got, summary: text.summary(), tokens: text.tokens };
  };
  const first = await read("In the");
  const second = await read("beginning");
  expect(first.tokens).toHaveLength(5);
  expect(first.got).toBe(model.tokenizer?.decode(first.tokens));
  expect(second.summary).toMatchObject({ finish: "maxTokens", promptTokens: 9, tokens: 5 });
  expect(await read("In the")).toMatchObject({ got: first.got, tokens: first.tokens });
});

test("logits of nothing but NaN end in an error that names op and step; others go on", async () => {
  const row = 200;
  const poisoned = writeCheckpoint(join(dir, "nan"), {
    tensors(good) {
      const table = good["model.embed_tokens.weight"];
      const bytes = Uint8Array.from(table?.bytes ?? []);
      bytes.set([0xc0, 0x7f], 2 * 32 * row);
      return { ...good, "model.embed_tokens.weight": { dtype: "BF16", shape: [259, 32], bytes } };
    },
  });
  await using model = await open(poisoned, { device: "virtual", sms: 2 });
  const read = async (promptIds: readonly number[]) => {
    const tokens: number[] = [];
    for await (const token of model.session.generate({ promptIds, maxTokens: 3, eosIds: [] })) {
      tokens.push(token);
    }
    return tokens;
  };
  const healthy = await read([1, 2]);
  // Twelve tokens are two steps; the second is the first to choose.
  await expect(read([row, ...Array<number>(11).fill(1)])).rejects.toMatchObject({
    category: "runtime",
    message: "sample, step 1: no token could be chosen: the logits are not numbers (NaN): tensor " +
      '"model.embed_tokens.weight" holds NaN or infinity at [200, 0], read by embedding of the program',
  });
  expect(await read([1, 2])).toEqual(healthy);

  const weights = await openWeights(poisoned);
  const { program } = await loadModel(poisoned, {});
  const source = (name: string) => {
    const tensor = weights.tensor(name);
    return { data: toBf16Words(tensor.read(), "BF16"), shape: tensor.shape };
  };
  const interpreter = createInterpreter(program, semanticsTable, {
    weights: source, precision: "f32",
  });
  interpreter.step({ ids: [1, 2] });
  expect(() => interpreter.step({ ids: [row] })).toThrow(
    /^sample .*position 2: no token could be chosen: the logits are not numbers/,
  );
  weights.close();
});

test("EOS ids are those of generation_config.json, else of config.json", async () => {
  expect((await loadModel(checkpoint, {})).eosIds).toEqual([257]);
  const generation = join(checkpoint, "generation_config.json");
  writeFileSync(generation, JSON.stringify({ eos_token_id: [5, 6] }));
  expect((await loadModel(checkpoint, {})).eosIds).toEqual([5, 6]);
  writeFileSync(generation, JSON.stringify({ eos_token_id: "x" }));
  await expect(loadModel(checkpoint, {})).rejects.toThrow(/generation_config.json: eos_token_id/);
  rmSync(generation);
});

test("compiling is deterministic to the byte", async () => {
  const config = join(dir, "config.json");
  writeFileSync(config, JSON.stringify(tinyConfig));
  const [a, b] = [await compile(config, { sms: 5 }), await compile(config, { sms: 5 })];
  expect(a.source).toBe(b.source);
  expect(JSON.stringify(a.manifest)).toBe(JSON.stringify(b.manifest));
  expect(a.verification.ok).toBe(true);
});

test("a Manifest is read back as it was written, and refused where it is not", async () => {
  const { manifest } = await compile(checkpoint, { sms: 5, profile: true });
  const read = (value: unknown) =>
    parseManifest(new TextEncoder().encode(JSON.stringify(value)), "manifest.json");
  expect(read(manifest)).toEqual(manifest);
  const { manifest: plain } = await compile(checkpoint, { sms: 5 });
  if (plain === null) throw new Error("compiled without a target");
  expect(read(plain)).toEqual(plain);
  const memory = { ...plain.memory, streamBytes: plain.memory.streamBytes - 2048 };
  expect(() => read({ ...plain, memory })).toThrow(/manifest.json: pack\.\d+ task \d+: tiles/);
  expect(() => read({ ...plain, version: 2 })).toThrow(/version: expected 1: this is another/);
  const entries = { decode: "a b", pack: "p" };
  expect(() => read({ ...plain, entries })).toThrow(/entries.decode: expected a C identifier/);
});

test("a model.ts is compiled as it is exported, or built for the limits asked for", async () => {
  const write = (name: string, text: string) => {
    const path = join(import.meta.dirname, `.${name}-${process.pid}.ts`);
    writeFileSync(path, text);
    return path;
  };
  const body = `(limits) => defineModel({ name: "mine", limits }, (m) => {
    const table = m.weight("table", [64, 32]);
    const logits = table.lookup(m.ids()).last().matmul(table);
    return { logits, token: logits.sample() };
  })`;
  const head = `import { defineModel } from "@mpk/dsl";\n`;
  const asFunction = write("function", `${head}export default ${body};`);
  const limits = "{ maxTokens: 4, maxContext: 32 }";
  const asProgram = write("program", `${head}export default (${body})(${limits});`);
  try {
    const built = await compile(asFunction, { maxContext: 16, maxTokens: 2, sms: 2 });
    expect(built.report).toMatchObject({ model: "mine", maxContext: 16, maxTokens: 2 });
    expect(built.vocab).toBe(64);
    expect((await compile(asProgram, { sms: 2 })).report).toMatchObject({ maxContext: 32 });
  } finally {
    for (const path of [asFunction, asProgram]) rmSync(path);
  }
});

test("an old driver and a GPU of another make are refused before anything is loaded", async () => {
  const opening = (options: Parameters<typeof fakeFunctions>[0]) =>
    open(checkpoint, {
      device: "cuda",
      env: { PATH: "/nowhere", CUDA_HOME: "/nowhere" },
      native: fakeNative(fakeFunctions(options)),
    }).catch((error: unknown) => error);
  expect(await opening({ version: 11_040 })).toMatchObject({
    category: "environment",
    message: expect.stringMatching(/supports CUDA 11.4, at least 12.0/),
  });
  expect(await opening({})).toMatchObject({
    category: "environment",
    message: expect.stringMatching(/no CUDA compiler/),
  });
  expect(await opening({ freeBytes: 1n << 20n })).toMatchObject({
    category: "input",
    message: expect.stringMatching(/context of 64 tokens does not fit.* 1.0 MiB are free/),
  });
  expect(await opening({})).toBeInstanceOf(MpkError);
});
