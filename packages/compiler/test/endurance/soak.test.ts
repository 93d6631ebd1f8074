/** @file A soak sees what changes or grows, goes on where it was, and accuses nothing sound. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { sessionOver, type DeviceBackend, type Launch } from "@mpk/runtime";
import {
  compareSamples, growthOf, newState, readSoakState, repeat, requestOf, soakPart, type SoakState,
} from "../../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-soak-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const limits = { vocab: 50, maxContext: 40 };

/** The logits behind some tokens: any function of all of them will do. */
const rowAfter = (ids: readonly number[]): Float32Array => {
  const hash = ids.reduce((sum, id, i) => (Math.imul(sum, 31) + id * (i + 7)) >>> 0, 17);
  return Float32Array.from({ length: limits.vocab }, (_, i) => Math.sin(hash + 13 * i));
};

/** What a broken device does: changes a token, or a row, of the launch with this number. */
interface Broken {
  readonly token?: (id: number, launch: number, at: number) => number;
  readonly row?: (row: Float32Array, launch: number, at: number) => Float32Array;
}

/** A device that decodes greedily; `crowd` counts. */
function device({ token = (id) => id, row = (r) => r }: Broken = {}) {
  let launches = 0;
  const backend: DeviceBackend = {
    kind: "virtual", name: "sine",
    async *run(launch: Launch) {
      const number = launches++;
      const ids = [...launch.promptIds];
      const logits: Float32Array[] = [];
      let tokens = 0;
      while (tokens < launch.maxTokens && !launch.signal.aborted) {
        const own = row(rowAfter(ids), number, tokens);
        const best = own.indexOf(Math.max(...own));
        const id = token(best, number, tokens);
        if (launch.logits === "all" || (launch.logits === "lastPrompt" && tokens === 0)) logits.push(own);
        ids.push(id);
        tokens++;
        yield id;
      }
      return {
        finish: tokens < launch.maxTokens ? "stopped" : "maxTokens", promptTokens: launch.promptIds.length,
        tokens, steps: tokens, millis: 0, logits, stampNanos: [],
      };
    },
    crowd: () => ({ finished: () => launches, stop: async () => undefined }),
    close: async () => undefined,
  };
  return sessionOver(backend, limits, []);
}

const fresh = newState({ model: "m", device: "d", seed: 3, ...limits });

function part(session: ReturnType<typeof device>, tokens: number, before: SoakState = fresh, grows = 0) {
  let looks = 0;
  const memory = () => ({ host: 1e8 + grows * looks, deviceFree: 1e9 - grows * looks++ });
  return soakPart(session, before, {
    tokens, mostMillis: Infinity, checkEvery: 100, now: () => 0, memory,
  });
}

test("requests fit the session whatever the seed, and are the same for the same number", () => {
  const context = fc.integer({ min: 4, max: 600 });
  fc.assert(fc.property(fc.nat(), fc.nat(), context, (seed, number, maxContext) => {
    const { request, ending } = requestOf(seed, number, { vocab: 7, maxContext });
    expect(requestOf(seed, number, { vocab: 7, maxContext })).toEqual({ request, ending });
    const { promptIds, maxTokens } = request;
    expect(promptIds.length).toBeGreaterThan(0);
    expect(promptIds.every((id) => id >= 0 && id < 7)).toBe(true);
    expect(maxTokens).toBeGreaterThan(0);
    expect(promptIds.length + maxTokens).toBeLessThanOrEqual(maxContext);
    if (ending.kind !== "tokens") expect(ending.after).toBeLessThanOrEqual(maxTokens);
  }));
  const endings = Array.from({ length: 200 }, (_, i) => requestOf(1, i, limits).ending.kind);
  expect(new Set(endings)).toEqual(new Set(["tokens", "abort", "leave"]));
});

test("a sound device: every 100th token is checked, nothing fails, parts are as good as one", async () => {
  const whole = await part(device(), 3000);
  expect(whole.failures).toEqual([]);
  expect(whole.checked).toBe(Math.floor(whole.tokens / 100));
  expect(whole.worstError).toBe(0);
  const first = await part(device(), 1200);
  const both = await part(device(), 3000, first);
  expect(both).toEqual({ ...whole, parts: 2, canaries: both.canaries });
  expect(both.canaries).toBeGreaterThanOrEqual(whole.canaries);
});

test("a state goes through its file, and what is no state is refused by field", async () => {
  const state = await part(device(), 300);
  const file = join(dir, "state.json");
  writeFileSync(file, JSON.stringify(state));
  expect(readSoakState(file)).toEqual(state);
  for (const field of Object.keys(state)) {
    writeFileSync(file, JSON.stringify({ ...state, [field]: { wrong: true } }));
    expect(() => readSoakState(file)).toThrow(`${field} is missing or wrong`);
  }
  writeFileSync(file, "{");
  expect(() => readSoakState(file)).toThrow(/state.json: /);
});

const bent = (row: Float32Array): Float32Array => row.map((value, i) => value + (i % 2 ? 0.2 : -0.2));

test.each<[string, Broken, RegExp]>([
  // A row of the cache that is stale shows in decoding, not where all is read anew.
  ["stale rows", { row: (r, _, at) => (at > 0 ? bent(r) : r) }, /logits are 0\.\d+ from those/],
  ["a token that is not the likeliest", { token: (id, _, at) => (at > 3 ? (id + 1) % 50 : id) }, /are likelier/],
  ["a token outside the vocabulary", { token: (id, n, at) => (n > 20 && at === 1 ? 50 : id) }, /token 50 is outside|are likelier/],
  ["not a number", { row: (r, n, at) => (n > 30 && at > 0 ? r.fill(NaN) : r) }, /NaN|undefined|-1/],
  ["a launch that changes with time", { row: (r, n) => (n > 60 ? bent(r) : r) }, /canary's tokens or logits/],
])("%s are seen", async (_, broken, says) => {
  const { failures } = await part(device(broken), 3000);
  expect(failures.join("\n")).toMatch(says);
});

test("memory that grows is seen, memory that breathes is not", async () => {
  expect((await part(device(), 20_000, fresh, 2e6)).failures.join()).toMatch(/device memory were lost/);
  expect((await part(device(), 20_000, fresh, 1e3)).failures).toEqual([]);
  const breath = Array.from({ length: 400 }, (_, i) => ({ host: 1e8 + (i % 20) * 1e7, deviceFree: null }));
  expect(growthOf(breath)).toEqual({ host: 0, device: 0 });
  expect(growthOf([])).toEqual({ host: 0, device: 0 });
});

test("kept logits are held to a reference later", async () => {
  const soaked = await part(device(), 500);
  const asked = { mostMillis: Infinity, now: () => 0 };
  const good = await compareSamples(device(), soaked, asked);
  expect(good.samples.every(({ error }) => error !== null && error < 5e-3)).toBe(true);
  expect(good.failures).toEqual([]);
  const other = await compareSamples(device({ row: bent }), soaked, asked);
  expect(other.failures).toHaveLength(soaked.samples.length);
});

test("reruns are counted as equal, or the first other one is named", async () => {
  const asked = {
    reruns: 40, promptTokens: 5, tokens: 6, beside: true, logitsEvery: 4, now: () => 0, mostMillis: 1,
  };
  const same = await repeat(device(), asked);
  expect(same).toMatchObject({ reruns: 40, equal: 40, withLogits: 10, firstOther: null });
  expect(same.kernelsBeside).toBeGreaterThan(0);
  // Four launches come first.
  const token = (id: number, launch: number) => (launch === 4 + 7 ? (id + 1) % 50 : id);
  expect(await repeat(device({ token }), asked)).toMatchObject({ equal: 39, firstOther: 7 });
  // A logit that no token shows is seen where logits are compared: in reruns 0, 1, 8, 9 and so on.
  const row = (r: Float32Array, launch: number) =>
    launch === 4 + 9 ? r.map((v) => (v === Math.min(...r) ? v - 1e-3 : v)) : r;
  expect(await repeat(device({ row }), asked)).toMatchObject({ equal: 39, firstOther: 9 });
});
