/** @file Benchmarks: statistics by law, measuring against a GPU that keeps known times. */
import { knownShapes, readConfig, tokenBytes } from "@mpk/models";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chartOf, lateness, limitOf, markdownTable, measureDecode, measureLong, medianByPosition,
  measurePromptSteps, measuredModel, notMeasured, quantile, readBenchFile, replacePart, resultText,
  spreadOfTimes, stepMillis, withLogits, type BenchFile, type BenchResult,
} from "../../src/bench/index.ts";
import { fakeGpu } from "./fake.ts";

const result: BenchResult = {
  model: "Some <model>", context: 64, tokensPerStep: 1, weightBytes: 2e9, cacheBytes: 1e6,
  limitBytesPerSecond: 4.6e12, probeBytesPerSecond: 4.5e12, floorMs: 0.435,
  ms: { p50: 0.5, p99: 0.51, worst: 0.6, fastest: 0.49, count: 1000 }, eventMs: 0.502,
  firstTokenMs: 3.25, promptStep: { tokens: 8, ms: 1.5 }, reruns: 20, rerunsEqual: 20,
  fidelity: { ratio: 0.5, wrong: 0, mustAgree: 90, passed: true },
  torch: { msPerToken: 1.25, torch: "2" },
};
const fileOf = (...results: BenchResult[]): BenchFile => ({
  format: "mpk-bench", version: 1, machine: "GPU (1 SM)", commit: null, command: "", results,
});

describe("statistics", () => {
  const times = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 });

  test("a quantile is one of the numbers, and so many do not exceed it", () => {
    fc.assert(
      fc.property(times, fc.double({ min: 0, max: 1, noNaN: true }), (list, share) => {
        const sorted = list.toSorted((a, b) => a - b);
        const found = quantile(sorted, share);
        expect(sorted).toContain(found);
        const below = sorted.filter((each) => each <= found).length;
        const under = sorted.filter((each) => each < found).length;
        expect(below).toBeGreaterThanOrEqual(share * sorted.length - 1e-9);
        expect(under).toBeLessThan(Math.max(1, share * sorted.length));
        const { fastest, p50, p99, worst, count } = spreadOfTimes(list);
        expect([fastest, p50, p99, worst]).toEqual([fastest, p50, p99, worst].toSorted((a, b) => a - b));
        expect([fastest, worst, count]).toEqual([sorted[0], sorted.at(-1), list.length]);
      }),
    );
  });

  test("steps and the first token make the launch", () => {
    const steps = fc.array(fc.integer({ min: 1, max: 1e7 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(steps, fc.nat(1e6), fc.nat(39), (nanos, before, prompt) => {
        const promptSteps = 1 + (prompt % nanos.length);
        let at = 10n ** 15n;
        const stampNanos = nanos.map((step) => (at += BigInt(step)));
        const millis = (before + nanos.reduce((a, b) => a + b, 0)) / 1e6;
        const found = stepMillis({ stampNanos, millis, promptSteps });
        expect(found.tokens).toHaveLength(nanos.length - promptSteps);
        expect(found.prompt).toHaveLength(promptSteps - 1);
        const whole = found.firstToken + found.tokens.reduce((a, b) => a + b, 0);
        expect(whole).toBeCloseTo(millis, 6);
        nanos.slice(promptSteps).forEach((step, i) => expect(found.tokens[i]).toBeCloseTo(step / 1e6, 9));
      }),
    );
  });
});

test("lateness is a step over the others at its position, whatever the position costs", () => {
  const costs = fc.array(fc.double({ min: 0.1, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(costs, fc.integer({ min: 3, max: 9 }), fc.nat(), (positions, runs, at) => {
      const launches = Array.from({ length: runs }, () => [...positions]);
      expect(lateness(launches)).toMatchObject({ p50: 1, worst: 1, fastest: 1 });
      expect(medianByPosition(launches)).toEqual(positions);
      const slow = at % positions.length;
      launches[0]![slow]! *= 2;
      expect(lateness(launches).worst).toBeCloseTo(2, 9);
      expect(medianByPosition(launches)).toEqual(positions);
    }),
  );
  expect(() => medianByPosition([[1], [1, 2]])).toThrow(RangeError);
});

describe("measuring", () => {
  test("one-token steps of all launches but the first count", async () => {
    // 8 prompt steps of 2 ms, then tokens of 1 ms, a tenth slower every tenth; the first run cold.
    const { session, launches, cacheFills } = fakeGpu({
      stepNanos: (run, step) => (run === 0 ? 9e6 : step < 8 ? 2e6 : step % 10 === 0 ? 1.1e6 : 1e6),
      launchNanos: 50_000,
    });
    const found = await measureDecode(session, {
      context: 64, tokens: 101, reruns: 5, promptChunk: 8, reads: "each",
    });
    expect(found).toMatchObject({
      ms: { p50: 1, p99: 1.1, worst: 1.1, fastest: 1, count: 500 },
      // The tenth steps are slow in every launch: that is their position, they are not late.
      late: { p50: 1, p99: 1, worst: 1 }, promptStepMs: 2, reruns: 5, rerunsEqual: 5,
    });
    expect(found.byPosition).toHaveLength(100);
    expect(found.byPosition.filter((ms) => ms === 1.1)).toHaveLength(10);
    expect(found.firstTokenMs).toBeCloseTo(16.05, 9);
    expect(found.eventMs).toBeCloseTo(1.0105, 9);
    expect(launches).toHaveLength(6);
    expect(launches[0]).toMatchObject({ startPosition: 0, maxTokens: 101, eosIds: [] });
    expect(launches[0]?.promptIds).toHaveLength(64);
    expect(cacheFills()).toBe(0);
  });

  test("a long context is random rows; other tokens are told", async () => {
    const { session, launches, cacheFills } = fakeGpu({
      stepNanos: () => 1e6, token: (run, i) => (run === 3 && i === 7 ? 1 : i),
    });
    const asked = { context: 4096, tokens: 20, reruns: 4, promptChunk: 8, reads: "random" } as const;
    expect(await measureDecode(session, asked)).toMatchObject({ reruns: 4, rerunsEqual: 3 });
    expect(launches[0]).toMatchObject({ startPosition: 4088 });
    expect(launches[0]?.promptIds).toHaveLength(8);
    expect(cacheFills()).toBe(1);
    const read = await measureDecode(session, { ...asked, reads: "each" });
    // 512 prompt steps of 1 ms.
    expect(read.firstTokenMs).toBeCloseTo(512, 9);
    expect(cacheFills()).toBe(1);
    expect(launches.at(-1)?.promptIds).toHaveLength(4096);
  });

  test("a context that is read once is there for all launches, with its last two prompt steps", async () => {
    const { session, launches, cacheFills } = fakeGpu({
      stepNanos: (run, step) => (run === 0 ? 2e6 : step === 0 ? 5e6 : 1e6),
    });
    const asked = { context: 4093, tokens: 20, reruns: 3, promptChunk: 8, reads: "once" } as const;
    const found = await measureDecode(session, asked);
    expect(found).toMatchObject({ ms: { p50: 1, count: 57 }, promptStepMs: 2, rerunsEqual: 3 });
    expect(found.firstTokenMs).toBeCloseTo(512 * 2, 9);
    const [first, ...others] = launches;
    expect(first?.promptIds).toHaveLength(4093);
    for (const { promptIds, startPosition } of others) {
      expect(startPosition).toBe(4080);
      expect(promptIds).toEqual(first?.promptIds.slice(4080));
    }
    expect(cacheFills()).toBe(0);
  });

  test("logits are compared to the last bit: tokens alone hide what differs by little", async () => {
    const asked = { context: 16, tokens: 8, reads: "each", promptChunk: 8 } as const;
    const nanos = { stepNanos: () => 1e6 };
    const same = fakeGpu({ ...nanos, logit: () => 0.5 });
    expect(await withLogits(same.session, asked, () => 4)).toMatchObject({ again: 4, equal: 4 });
    const racing = fakeGpu({ ...nanos, logit: (run) => (run === 2 ? 0.5 + 2 ** -20 : 0.5) });
    const found = await withLogits(racing.session, asked, () => 4);
    expect(found).toMatchObject({ again: 4, equal: 3, prompt: expect.arrayContaining([13]) });
    const text = resultText({ ...result, logitReruns: { launches: 4, equal: found.equal } });
    expect(text).toContain("20 of 20 equal; all logits of 3 of 4 equal to the last bit");
  });

  test("one long launch shows what the context costs", async () => {
    const { session, launches } = fakeGpu({ stepNanos: (_, step) => 1e6 + 100 * step });
    const asked = { context: 64, tokens: 1000, promptChunk: 8, reads: "each" } as const;
    const long = await measureLong(session, asked);
    expect(long).toMatchObject({ tokens: 999, ms: { count: 999 } });
    expect(long.lastHundredMs - long.firstHundredMs).toBeCloseTo(0.0899, 4);
    expect(launches[0]).toMatchObject({ maxTokens: 1000 });
  });

  test("steps of several tokens are those of a prompt", async () => {
    const { session, launches } = fakeGpu({ stepNanos: () => 3e6, promptChunk: 16 });
    const found = await measurePromptSteps(session, 0, 16, 3);
    expect(found).toMatchObject({ ms: { p50: 3, count: 48 }, rerunsEqual: 3 });
    expect(launches[0]?.promptIds).toHaveLength(16 * 17);
  });

  test("a device that keeps no times is refused, not taken for fast", async () => {
    const { session } = fakeGpu({ stepNanos: () => 1e6 });
    const silent = {
      ...session,
      generate: (request: Parameters<typeof session.generate>[0]) =>
        session.generate({ ...request, stamps: false }),
    };
    const asked = { context: 8, tokens: 4, reruns: 1, promptChunk: 8, reads: "each" } as const;
    await expect(measureDecode(silent, asked)).rejects.toThrow(/kept 0 step times, expected 3/);
  });
});

describe("the limit", () => {
  test("is of the bytes that config.json calls for", () => {
    // Those of docs/performance.md, by bench/shapes.py.
    const expected: Readonly<Record<string, number>> = {
      "llama-3.2-1b": 2_471_493_632, "qwen3-0.6b": 1_191_968_768, "qwen3-8b": 15_136_194_560,
    };
    for (const [name, bytes] of Object.entries(expected)) {
      const config = readConfig(knownShapes()[name]?.config);
      expect(tokenBytes(config, 0)).toEqual({ weights: bytes, cache: 0 });
    }
    const qwen = readConfig(knownShapes()["qwen3-8b"]?.config);
    expect(tokenBytes(qwen, 4096).cache).toBe(4096 * 36 * 2 * 8 * 128 * 2);
    expect(limitOf(4.6e12, 4.4e12)).toBe(4.6e12);
    expect(limitOf(4.6e12, 4.7e12)).toBe(4.7e12);
    expect(limitOf(1e12, null)).toBe(1e12);
  });

  test("every known shape is a model; a window bounds the cache that is read", () => {
    for (const name of Object.keys(knownShapes())) {
      expect(measuredModel(name).config.layers).toBeGreaterThan(15);
    }
    const mistral = readConfig({
      architectures: ["MistralForCausalLM"], vocab_size: 100, hidden_size: 64,
      intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1,
      head_dim: 32, sliding_window: 16,
    });
    expect(tokenBytes(mistral, 1000).cache).toBe(2 * 15 * 2 * 32 * 2);
  });
});

describe("results", () => {
  test("a file comes back as it was; what is wrong is named", () => {
    const text = JSON.stringify(fileOf(result));
    expect(readBenchFile("r.json", text)).toEqual(fileOf(result));
    const broken = (change: object) => () =>
      readBenchFile("r.json", JSON.stringify({ ...fileOf(result), ...change }));
    expect(() => readBenchFile("r.json", "{")).toThrow("r.json: is no benchmark result");
    expect(broken({ version: 2 })).toThrow("has version 2, expected 1");
    expect(broken({ results: [] })).toThrow("holds no results");
    expect(broken({ results: [{ ...result, floorMs: "x" }] })).toThrow(
      'results[0].floorMs is "x", expected a number',
    );
    expect(broken({ results: [result, { ...result, ms: {} }] })).toThrow("results[1].ms.p50");
  });

  test("text, table and picture say what was not measured", () => {
    const bare: BenchResult = {
      ...result, fidelity: notMeasured("python3 lacks torch"), torch: notMeasured("no"),
      ms: { p50: 0.5, p99: null, worst: null, fastest: null, count: null },
    };
    expect(resultText(result)).toMatch(/of the limit +87 %/);
    expect(resultText(bare)).toContain("fidelity       not measured: python3 lacks torch");
    expect(markdownTable(fileOf(bare))).toMatch(/\| – \| 0.502 \| 87 % \| not measured \|/);
    expect(resultText({ ...result, unequal: [{ launch: 3, token: 7 }] })).toContain("launch 3 from token 7");
    expect(chartOf("t", [bare])).not.toContain("PyTorch");
    const failed = { ratio: 2, wrong: 1, mustAgree: 9, passed: false };
    expect(resultText({ ...result, fidelity: failed })).toContain("FAILED");
  });

  test("tables of long launches, many tokens and prompts come where there are such results", () => {
    const long = { tokens: 999, ms: spreadOfTimes([1, 2]), firstHundredMs: 1, lastHundredMs: 2 };
    const text = markdownTable(fileOf(
      { ...result, long }, { ...result, tokensPerStep: 16, ms: { ...result.ms, p50: 8 } },
      { ...result, context: 2048, firstTokenMs: 1024 },
    ));
    const heads = text.split("\n").filter((line) => line.startsWith("| shape"));
    expect(heads).toHaveLength(4);
    expect(text).toMatch(/\| 64 to 1,063 \| 999 \| 1.000 \| 2.000 \|/);
    expect(text).toMatch(/\| 16 \| 0.435 \| \*\*8.000\*\* \| 0.064 \| 0.500 \|/);
    expect(text).toMatch(/\| 2,048 \| 8 \| \*\*1024.000\*\* \| 2,000 \|/);
    expect(text).not.toContain("GPU");
    const prompt = { ...result, context: 2048 };
    const twice = markdownTable(fileOf(prompt, { ...prompt, promptStep: { tokens: 32, ms: 9 } }));
    expect(twice.split("\n").filter((line) => line.startsWith("| Some"))).toHaveLength(3);
  });

  test("results of several GPUs or commits say of which they are", () => {
    const of = (gpu: string, commit: string): BenchResult =>
      ({ ...result, origin: { machine: "GPU (1 SM)", gpu, commit, sources: null } });
    expect(markdownTable(fileOf(of("a", "x"), of("a", "x")))).not.toMatch(/GPU|commit/);
    const mixed = markdownTable(fileOf(of("a", "x"), of("b", "y")));
    expect(mixed).toMatch(/\| GPU \| commit \|/);
    expect(mixed).toMatch(/\| no. 2 \| y \|/);
  });

  test("the picture is well formed, whatever the names and numbers", () => {
    const anyResult = fc.record({
      model: fc.string({ unit: "grapheme" }), floorMs: fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
      p50: fc.double({ min: 1e-3, max: 1e4, noNaN: true }), context: fc.nat(99_999),
    }).map(({ model, floorMs, p50, context }) => ({
      ...result, model, floorMs, context, ms: { ...result.ms, p50 },
    }));
    fc.assert(
      fc.property(fc.array(anyResult, { minLength: 1, maxLength: 6 }), (results) => {
        const svg = chartOf("a & b", results);
        expect(svg).not.toMatch(/NaN|undefined|Infinity/);
        // Tags close in order; attributes hold no markup.
        const open: string[] = [];
        for (const [, close, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
          if (close) expect(open.pop()).toBe(name);
          else if (!self) open.push(name ?? "");
        }
        expect(open).toEqual([]);
        for (const [, x, width] of svg.matchAll(/<rect [^>]*x="([\d.]+)"[^>]*width="([\d.]+)"/g)) {
          expect(Number(x) + Number(width)).toBeLessThanOrEqual(720);
        }
        expect(svg.match(/<rect /g)).toHaveLength(2 * results.length);
      }),
      { numRuns: 15 },
    );
  });

  test("a part of a page is replaced, and only between one pair of markers", () => {
    const page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
    const once = replacePart(page, "x", "new\n");
    expect(once).toBe("a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n");
    expect(replacePart(once, "x", "new\n")).toBe(once);
    expect(() => replacePart("a", "x", "new")).toThrow(/one pair of markers/);
    expect(() => replacePart(page + page, "x", "new")).toThrow(/one pair of markers/);
  });
});
