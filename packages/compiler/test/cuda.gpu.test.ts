/** @file The whole path on a GPU: transformers' tokens, streaming, stopping, several prompts. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { open, type Opened } from "../src/index.ts";
import { expectGolden, families, kjv, kjvGoldens, relativeError } from "./goldens.ts";

let model: Opened;
beforeAll(async () => void (model = await open(kjv, { device: "cuda" })), 120_000);
afterAll(() => model.close());

const [first] = kjvGoldens;
if (first === undefined) throw new Error("the shipped checkpoint has no golden text");
const request = { promptIds: first.promptIds, maxTokens: 200, eosIds: [] };

async function read(tokens: AsyncIterable<number>): Promise<number[]> {
  const got: number[] = [];
  for await (const token of tokens) got.push(token);
  return got;
}

test("200 tokens of each text are those of transformers, but for near ties", async () => {
  for (const golden of kjvGoldens) {
    const run = model.session.generate({
      promptIds: golden.promptIds, maxTokens: 200, eosIds: [], logits: "lastPrompt", stamps: true,
    });
    const got = await read(run);
    const differs = got.findIndex((token, i) => token !== golden.greedyIds[i]);
    if (differs >= 0) expect(golden.topGaps[differs]).toBeLessThan(0.25);
    const { logits, stampNanos, steps, finish, millis } = run.summary();
    expect(relativeError(logits, [golden.lastPromptLogits])).toBeLessThan(2e-2);
    expect(finish).toBe("maxTokens");
    expect(stampNanos).toHaveLength(steps);
    const [start = 0n, end = 0n] = [stampNanos[0], stampNanos.at(-1)];
    expect(Number(end - start) / 1e6).toBeLessThan(millis);
    expect(stampNanos.every((stamp, i) => i === 0 || stamp > (stampNanos[i - 1] ?? 0n))).toBe(true);
  }
});

test("reruns give the same tokens; sampling follows its seed", async () => {
  const once = await read(model.session.generate(request));
  for (let run = 0; run < 20; run++) {
    expect(await read(model.session.generate(request))).toEqual(once);
  }
  const hot = (seed: bigint) =>
    read(model.session.generate({ ...request, sampling: { temperature: 1.5, topP: 0.95, seed } }));
  expect(await hot(1n)).toEqual(await hot(1n));
  expect(await hot(1n)).not.toEqual(await hot(2n));
});

test("tokens arrive while the kernel runs, and the event loop turns meanwhile", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const run = model.session.generate({ ...request, maxTokens: 400 });
  let early = 0;
  const start = performance.now();
  let firstAt = 0;
  for await (const _ of run) {
    if (early++ === 0) firstAt = performance.now() - start;
  }
  clearInterval(timer);
  const total = performance.now() - start;
  expect(turns).toBeGreaterThan(3);
  expect(firstAt).toBeLessThan(total / 2);
});

test("an abort and an early exit leave the GPU ready for the next prompt", async () => {
  const expected = await read(model.session.generate({ ...request, maxTokens: 20 }));
  const controller = new AbortController();
  const run = model.session.generate({ ...request, maxTokens: 400, signal: controller.signal });
  let seen = 0;
  for await (const _ of run) if (++seen === 5) controller.abort();
  expect(run.summary().finish).toBe("stopped");
  expect(seen).toBeLessThan(400);
  for await (const _ of model.session.generate(request)) break;
  expect(await read(model.session.generate({ ...request, maxTokens: 20 }))).toEqual(expected);
});

test("a watchdog that fires names what waited, and the GPU stays usable", async () => {
  const impatient = await open(kjv, { device: "cuda", watchdogSeconds: 1e-7 });
  await expect(read(impatient.session.generate(request))).rejects.toMatchObject({
    category: "runtime",
    message: expect.stringMatching(/watchdog ended the kernel: in step \d+, SM \d+, .* of layers/),
  });
  await impatient.close();
  expect(await read(model.session.generate({ ...request, maxTokens: 3 }))).toHaveLength(3);
});

test.each(families)("%s: within 2e-2 of transformers' float32", async (family) => {
  await expectGolden(family, 2e-2, { device: "cuda" });
}, 120_000);
