/** @file Sessions over a made-up device: what is refused, what is passed on, how it ends. */
import { expect, test } from "vitest";
import type { DeviceBackend, Launch, Summary } from "../src/backend.ts";
import { MpkError } from "../src/errors.ts";
import { sessionOver, type GenerateRequest } from "../src/session.ts";

/** Counts up from the last prompt token, one token a turn, until told to stop. */
function counting(): DeviceBackend & { launches: Launch[]; closed: number } {
  const backend = {
    kind: "virtual" as const,
    name: "counting",
    launches: [] as Launch[],
    closed: 0,
    async *run(launch: Launch): AsyncGenerator<number, Summary, void> {
      backend.launches.push(launch);
      let tokens = 0;
      const last = launch.promptIds.at(-1) ?? 0;
      while (tokens < launch.maxTokens && !launch.signal.aborted) yield last + ++tokens;
      const finish = launch.signal.aborted ? "stopped" : "maxTokens";
      const promptTokens = launch.promptIds.length;
      return { finish, promptTokens, tokens, steps: 0, millis: 0, logits: [], stampNanos: [] };
    },
    close: async () => void backend.closed++,
  };
  return backend;
}

const limits = { vocab: 100, maxContext: 10 };
const collect = async (tokens: AsyncIterable<number>) => {
  const got: number[] = [];
  for await (const token of tokens) got.push(token);
  return got;
};

const bad: readonly [string, GenerateRequest, RegExp][] = [
  ["an empty prompt", { promptIds: [] }, /prompt is empty/],
  ["an id past the vocabulary", { promptIds: [1, 100] }, /token 1 is 100, outside.*0\.\.99/],
  ["a negative id", { promptIds: [-1] }, /token 0 is -1/],
  ["half an id", { promptIds: [1.5] }, /token 0 is 1.5/],
  ["a prompt that fills the context", { promptIds: Array(10).fill(1) }, /10 tokens.*holds 10/],
  ["no tokens", { promptIds: [1], maxTokens: 0 }, /maxTokens is 0/],
  ["a temperature below 0", { promptIds: [1], sampling: { temperature: -1 } }, /temperature is -1/],
  ["top-p of zero", { promptIds: [1], sampling: { topP: 0 } }, /top-p is 0/],
  ["half a top-k", { promptIds: [1], sampling: { topK: 0.5 } }, /top-k is 0.5/],
];

test.each(bad)("%s is refused before the device is touched", (_, request, message) => {
  const backend = counting();
  const session = sessionOver(backend, limits, []);
  expect(() => session.generate(request)).toThrow(message);
  expect(() => session.generate(request)).toThrow(MpkError);
  expect(backend.launches).toEqual([]);
});

test("prompts run one after another; the context bounds the tokens", async () => {
  const backend = counting();
  const session = sessionOver(backend, limits, [7]);
  expect(await collect(session.generate({ promptIds: [1], maxTokens: 3 }))).toEqual([2, 3, 4]);
  const filling = session.generate({ promptIds: [5, 6], eosIds: [] });
  expect(() => filling.summary()).toThrow(/has not ended/);
  expect(await collect(filling)).toHaveLength(8);
  expect(filling.summary()).toMatchObject({ finish: "maxTokens", tokens: 8, promptTokens: 2 });
  expect(backend.launches.map((launch) => launch.eosIds)).toEqual([[7], []]);
});

test("one generation at a time; leaving it early frees the session", async () => {
  const session = sessionOver(counting(), limits, []);
  for await (const token of session.generate({ promptIds: [1] })) {
    await expect(collect(session.generate({ promptIds: [2] }))).rejects.toThrow(/still running/);
    if (token === 3) break;
  }
  expect(await collect(session.generate({ promptIds: [2], maxTokens: 1 }))).toEqual([3]);
});

test("an abort ends the iteration; a closed session refuses", async () => {
  const backend = counting();
  const session = sessionOver(backend, limits, []);
  const controller = new AbortController();
  const generation = session.generate({ promptIds: [1], signal: controller.signal });
  const got: number[] = [];
  for await (const token of generation) {
    got.push(token);
    if (token === 3) controller.abort();
  }
  expect(got).toEqual([2, 3]);
  expect(generation.summary().finish).toBe("stopped");
  await session.close();
  await session.close();
  expect(backend.closed).toBe(1);
  expect(() => session.generate({ promptIds: [1] })).toThrow(/closed/);
});
