/** @file Results as they come: kept one by one, gone on with, and never lost to a setting that fails. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runtimeError } from "@mpk/runtime";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import {
  differenceOf, goesOn, measureAll, measureApart, measuredModel, notMeasured, readBenchFile, settingOf,
  settingText, sourcesHere, suite, suiteNames, withResult, type BenchFile, type BenchResult,
  type Origin, type BenchSetting,
} from "../../src/bench/index.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-keep-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const origin: Origin = { machine: "GPU (1 SM)", gpu: "GPU-1", commit: "abc", sources: "123" };
const empty: BenchFile = {
  format: "mpk-bench", version: 1, machine: origin.machine, commit: null, command: "", results: [],
};
const no = notMeasured("no");
const resultOf = ({ model, context, tokensPerStep }: BenchSetting, p50 = 1): BenchResult => ({
  model, context, tokensPerStep, weightBytes: 1, cacheBytes: 1, limitBytesPerSecond: 1,
  probeBytesPerSecond: null, floorMs: 1, eventMs: null, firstTokenMs: null, promptStep: null,
  ms: { p50, p99: null, worst: null, fastest: null, count: null }, reruns: 1, rerunsEqual: 1,
  fidelity: no, torch: no,
});
const settings = Array.from({ length: 6 }, (_, i) => settingOf({ model: `model ${i}` }));

/** Fails for the settings in `bad`, has time for `most`; what was kept after each. */
async function queue(bad: readonly number[], most: number, file = empty) {
  const kept: BenchFile[] = [];
  const measured: string[] = [];
  const done = await measureAll({
    settings, file, origin,
    measure: async (setting) => {
      measured.push(setting.model);
      if (bad.includes(settings.indexOf(setting))) throw runtimeError("the kernel faulted", "restart");
      return resultOf(setting);
    },
    keep: (now) => void kept.push(JSON.parse(JSON.stringify(now))),
    stopped: () => (measured.length < most ? null : "no time left"),
  });
  return { ...done, kept, measured };
}

describe("a queue of settings", () => {
  const some = fc.subarray([0, 1, 2, 3, 4, 5]);

  test("keeps each result at once, tells each failure, and goes on after it", async () => {
    await fc.assert(fc.asyncProperty(some, fc.integer({ min: 0, max: 6 }), async (bad, most) => {
      const { file, left, kept, measured } = await queue(bad, most);
      expect(measured).toEqual(settings.slice(0, most).map(({ model }) => model));
      expect(left).toBe(6 - measured.length);
      // What is on the disk after each is all that is known then.
      expect(kept).toHaveLength(measured.length);
      kept.forEach((now, i) =>
        expect(now.results.length + (now.failures ?? []).length).toBe(i + 1));
      expect((file.failures ?? []).map(({ model }) => model))
        .toEqual(bad.filter((i) => i < most).map((i) => settings[i]?.model));
      for (const result of file.results) {
        expect(result).toMatchObject({ origin, setting: expect.any(String) });
      }
    }), { numRuns: 30 });
  });

  test("goes on where it was cut off: nothing is measured twice, failures are tried again", async () => {
    await fc.assert(fc.asyncProperty(some, fc.integer({ min: 0, max: 6 }), async (bad, most) => {
      const first = await queue(bad, most);
      const second = await queue([], 6, first.kept.at(-1) ?? empty);
      expect(second.measured).toHaveLength(6 - first.file.results.length);
      expect(second.file.failures ?? []).toEqual([]);
      expect(new Set(second.file.results.map(({ setting }) => setting)).size).toBe(6);
    }), { numRuns: 30 });
  });

  test("a result that waits for what is beside it is measured again", async () => {
    const { file } = await queue([], 6);
    const results = file.results.map((one, i) => (i === 2 ? { ...one, pending: true as const } : one));
    const waiting = { ...file, results };
    const again = await queue([], 6, waiting);
    expect(again.measured).toEqual(["model 2"]);
    expect(again.file.results).toHaveLength(6);
    expect(again.file.results[2]).not.toHaveProperty("pending");
  });

  test("a fault of ours is no failure of a setting: it ends the queue", async () => {
    const request = {
      settings, file: empty, origin, keep: () => undefined, stopped: () => null,
      measure: async () => { throw new TypeError("a fault"); },
    };
    await expect(measureAll(request)).rejects.toThrow(TypeError);
  });

  test("a file with failures alone can be gone on with, not drawn", () => {
    const text = JSON.stringify({ ...empty, failures: [{ model: "a", setting: "b", error: "c" }] });
    expect(readBenchFile("r", text, { mayBeEmpty: true }).results).toEqual([]);
    expect(() => readBenchFile("r", text)).toThrow("holds no results");
  });

  test("a later result of the same setting takes the earlier one's place", () => {
    const a = { ...resultOf(settings[0]!), setting: "x" };
    const file = withResult(withResult(empty, a), { ...a, floorMs: 2 });
    expect(file.results.map(({ floorMs }) => floorMs)).toEqual([2]);
    expect(withResult(withResult(empty, resultOf(settings[0]!)), resultOf(settings[0]!)).results)
      .toHaveLength(2);
  });
});

describe("settings", () => {
  test("another answer to anything that was asked is another setting", () => {
    const base = settingOf({ model: "m" });
    const others: Partial<BenchSetting>[] = [
      { context: 65 }, { tokens: 64 }, { reruns: 3 }, { longTokens: 10 }, { reads: "once" }, { seed: 2n },
      { promptChunk: 8 }, { attention: "auto" }, { tuned: false }, { wantsTorch: true }, { tokensPerStep: 8 },
    ];
    const texts = [base, ...others.map((other) => ({ ...base, ...other }))].map(settingText);
    expect(new Set(texts).size).toBe(others.length + 1);
    expect(settingText({ ...base })).toBe(settingText(base));
  });

  test("the suites name shapes that there are, each setting once; the page has all", () => {
    for (const name of suiteNames) {
      for (const { model } of suite(name)) expect(measuredModel(model).checkpoint).toBeNull();
    }
    const page = suite("page").map(settingText);
    expect(new Set(page).size).toBe(page.length);
    for (const name of suiteNames.filter((each) => each !== "page")) {
      expect(page).toEqual(expect.arrayContaining(suite(name).map(settingText)));
    }
    expect(() => suite("toString")).toThrow(RangeError);
  });

  test("a file goes on with no other machine's results, with another program's only when told to", () => {
    const of = (change: Partial<Origin>) =>
      withResult(empty, { ...resultOf(settings[0]!), setting: "x", origin: { ...origin, ...change } });
    expect(goesOn(empty, origin, false)).toEqual({ refusal: null, notes: [] });
    expect(goesOn(of({}), origin, false)).toEqual({ refusal: null, notes: [] });
    expect(goesOn(of({ machine: "other" }), origin, true).refusal).toMatch(/machine other and machine GPU/);
    expect(goesOn(of({ sources: "9" }), origin, false).refusal).toMatch(/sources 9 and sources 123/);
    expect(goesOn(of({ commit: null }), origin, false).refusal).toMatch(/commit unknown and commit abc/);
    expect(goesOn(of({ sources: "9" }), origin, true).refusal).toBeNull();
    const gpu = goesOn(of({ gpu: "GPU-2" }), origin, false);
    expect(gpu).toMatchObject({ refusal: null, notes: [expect.stringContaining("GPU-2 and GPU GPU-1")] });
    // What was stored before results had an origin is not taken for this program's.
    expect(goesOn(withResult(empty, resultOf(settings[0]!)), origin, false).refusal).toMatch(/unknown/);
  });

  test("origins differ in what they are asked about; unknown is not equal to known", () => {
    expect(differenceOf(origin, { ...origin, gpu: "GPU-2" }, ["machine", "sources"])).toBeNull();
    expect(differenceOf(origin, { ...origin, sources: null }, ["machine", "sources"]))
      .toBe("sources 123 and sources unknown");
    expect(sourcesHere()).toMatch(/^[0-9a-f]{16}$/);
    expect(sourcesHere(dir)).toBeNull();
  });
});

describe("a process of its own", () => {
  const program = (name: string, body: string): URL => {
    const path = join(dir, `${name}.mjs`);
    writeFileSync(path, body);
    return pathToFileURL(path);
  };
  const apart = (url: URL, mostSeconds = 20) => {
    const told: string[] = [];
    const onStage = (text: string) => void told.push(text);
    const result = measureApart(settings[0]!, { env: process.env, mostSeconds, program: url, onStage });
    return { told, result };
  };

  test("gives its result and what it says on the way", async () => {
    const { told, result } = apart(program("good", `process.once("message", ({ what, setting }) => {
      const text = what + " " + setting.model + " " + typeof setting.seed;
      process.send({ kind: "text", as: "stage", text });
      process.send({ kind: "done", result: { model: setting.model } });
    });`));
    expect(await result).toEqual({ model: "model 0" });
    expect(told).toEqual(["measure model 0 bigint"]);
  });

  test("killed, broken, silent or failing, it is told as a failure of this setting", async () => {
    const killed = program("killed", `process.kill(process.pid, "SIGKILL"); setTimeout(() => 0, 9e5);`);
    await expect(apart(killed).result).rejects.toThrow(/ended by SIGKILL without a result/);
    const broken = program("broken", `throw new Error("no such thing");`);
    await expect(apart(broken).result).rejects.toThrow(/ended with code 1 without a result/);
    const silent = program("silent", `setTimeout(() => 0, 9e5);`);
    await expect(apart(silent, 0.3).result).rejects.toThrow(/no result after 0.3 s/);
    const failing = program("failing", `process.once("message", () => process.send(
      { kind: "error", category: "runtime", message: "the kernel faulted", fix: "restart" }));`);
    await expect(apart(failing).result).rejects.toMatchObject({ category: "runtime", fix: "restart" });
  });

  test("the one that measures starts, and says that there is no GPU here", async () => {
    const options = { env: { PATH: "/nowhere", CUDA_HOME: "/nowhere" }, mostSeconds: 60 };
    await expect(measureApart(settings[0]!, options)).rejects.toThrow(/nothing can be timed here/);
  });
});
