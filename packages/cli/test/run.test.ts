/** @file mpk run on the virtual GPU: text, ids, logits, sampling and Ctrl-C. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterpreter, type WeightData } from "@mpk/ir";
import { loadModel } from "@mpk/compiler";
import { semanticsTable } from "@mpk/ops";
import { openWeights, toBf16Words } from "@mpk/runtime";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tinyConfig, writeCheckpoint } from "../../compiler/test/checkpoint.ts";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-run-"));
let checkpoint = "";
beforeAll(() => void (checkpoint = writeCheckpoint(join(dir, "tiny"))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Result {
  readonly tokens: readonly number[];
  readonly text: string;
  readonly device: string;
  readonly finish: string;
  readonly lastLogits: readonly number[];
}

const run = (...args: readonly string[]) =>
  mpk(["run", checkpoint, "--device", "virtual", "--sms", "3", ...args]);

async function runJson(...args: readonly string[]): Promise<Result> {
  const ran = await run("--json", ...args);
  expect(ran).toMatchObject({ code: 0, err: "" });
  return JSON.parse(ran.out) as Result;
}

/** The reference: the prompt in one step, then one token a step, the likeliest each time. */
async function interpret(prompt: readonly number[], steps: number) {
  const { program } = await loadModel(checkpoint, {});
  const weights = await openWeights(checkpoint);
  const source = (name: string): WeightData => {
    const tensor = weights.tensor(name);
    return { data: toBf16Words(tensor.read(), "BF16"), shape: tensor.shape };
  };
  const interpreter = createInterpreter(program, semanticsTable, {
    weights: source,
    precision: "f32",
  });
  const tokens: number[] = [];
  let logits: readonly number[] = [];
  for (let ids = prompt; tokens.length < steps; ids = tokens.slice(-1)) {
    const { outputs } = interpreter.step({ ids });
    if (tokens.length === 0) logits = [...(outputs["logits"]?.data ?? [])];
    tokens.push(outputs["token"]?.data[0] ?? -1);
  }
  return { tokens, logits };
}

test("tokens and logits are those of the reference interpreter, at any number of SMs", async () => {
  const prompt = [258, 3, 200, 77, 5];
  const expected = await interpret(prompt, 6);
  const args = ["--prompt-ids", prompt.join(","), "--max-tokens", "6", "--no-eos", "--logits"];
  for (const sms of ["1", "3", "16"]) {
    const got = await runJson(...args, "--precision", "f32", "--sms", sms);
    expect(got).toMatchObject({ tokens: expected.tokens, device: "virtual", finish: "maxTokens" });
    expect(got.lastLogits).toHaveLength(259);
    const distance = Math.hypot(...got.lastLogits.map((x, i) => x - (expected.logits[i] ?? 0)));
    expect(distance / Math.hypot(...expected.logits)).toBeLessThan(1e-5);
  }
});

test("a prompt longer than a step is read in pieces", async () => {
  const prompt = Array.from({ length: 21 }, (_, i) => (i * 37) % 259);
  const expected = await interpret(prompt.slice(0, 8), 1);
  const whole = ["--prompt-ids", prompt.join(","), "--max-tokens", "3", "--precision", "f32"];
  const [by8, by5] = [await runJson(...whole), await runJson(...whole, "--sms", "2")];
  expect(by8.tokens).toEqual(by5.tokens);
  expect(expected.tokens).toHaveLength(1);
});

test("text streams out in pieces and equals the text of --json", async () => {
  const args = ["--prompt", "the", "--max-tokens", "12", "--no-eos"];
  const pieces: string[] = [];
  const streamed = await mpk(
    ["run", checkpoint, "--device", "virtual", "--sms", "3", ...args],
    { onOut: (text) => pieces.push(text) },
  );
  const { text, tokens } = await runJson(...args);
  expect(streamed.out).toBe(`${text}\n`);
  expect(pieces.filter((piece) => piece !== "").length).toBeGreaterThan(2);
  expect(tokens).toHaveLength(12);
});

test("a seed decides the choice; temperature 0 needs none", async () => {
  const hot = ["--prompt-ids", "1,2", "--max-tokens", "8", "--temperature", "2", "--no-eos"];
  const tokens = async (...args: string[]) => (await runJson(...args)).tokens;
  expect(await tokens(...hot, "--seed", "5")).toEqual(await tokens(...hot, "--seed", "5"));
  expect(await tokens(...hot, "--seed", "5")).not.toEqual(await tokens(...hot, "--seed", "6"));
  const greedy = ["--prompt-ids", "1,2", "--max-tokens", "8", "--no-eos"];
  expect(await tokens(...greedy, "--seed", "5")).toEqual(await tokens(...greedy, "--seed", "6"));
  expect(await tokens(...hot, "--top-k", "1")).toEqual(await tokens(...greedy));
});

test("the end of the context ends the text, and says so", async () => {
  const got = await runJson("--prompt-ids", "1,2,3", "--max-context", "6", "--no-eos");
  expect(got).toMatchObject({ finish: "contextFull" });
  expect(got.tokens).toHaveLength(3);
  const text = await run("--prompt-ids", "1,2,3", "--max-context", "6", "--no-eos");
  expect(text).toMatchObject({ code: 0 });
  expect(text.err).toBe("the text ends because the context of 6 tokens is full\n");
});

test("an EOS id outside the vocabulary is told, and the others still end the text", async () => {
  const config = { ...tinyConfig, eos_token_id: [257, 50_256] };
  const folder = writeCheckpoint(join(dir, "eos"), { config });
  const ran = await mpk(
    ["run", folder, "--device", "virtual", "--prompt-ids", "1", "--max-tokens", "1"],
  );
  expect(ran.code).toBe(0);
  expect(ran.err).toMatch(/^warning: .*config.json: eos_token_id 50256 is outside.*0\.\.258/);
  writeFileSync(join(folder, "generation_config.json"), '{"eos_token_id": -7}');
  const other = await mpk(
    ["run", folder, "--device", "virtual", "--prompt-ids", "1", "--max-tokens", "1"],
  );
  expect(other.err).toMatch(/^warning: .*generation_config.json: eos_token_id -7[^\n]*\n$/);
});

test("Ctrl-C ends the generation after the current token, with exit code 130", async () => {
  const interrupt = new AbortController();
  let seen = 0;
  const ran = await mpk(
    ["run", checkpoint, "--device", "virtual", "--prompt", "a", "--max-tokens", "50", "--no-eos"],
    {
      interrupt,
      onOut: () => {
        if (++seen === 5) interrupt.abort();
      },
    },
  );
  expect(ran).toMatchObject({ code: 130, err: "interrupted\n" });
  expect(seen).toBeLessThan(10);
});
