/** @file Tuning: the search by its laws, against machines whose best choice is known. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { machines, PlanError } from "@mpk/schedule";
import { inputError, runtimeError } from "@mpk/runtime";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { fakeFunctions, fakeNative } from "../../../runtime/test/fake-driver.ts";
import { compile, open } from "../../src/index.ts";
import {
  choiceText, combinations, isChoice, knobs, otherAnswer, readTuned, rungs, singleChanges, successiveHalving,
  tune, tunedPath, writeTuned, type Choice, type Outcome, type TuneRequest,
} from "../../src/tune/index.ts";
import { fakeGpu } from "../bench/fake.ts";
import { writeCheckpoint } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-tune-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const checkpoint = writeCheckpoint(join(dir, "tiny"));

describe("halving", () => {
  /** True times by candidate; undefined: refused. */
  const fields = fc.array(fc.option(fc.double({ min: 1, max: 2, noNaN: true }), { nil: undefined }),
    { minLength: 1, maxLength: 20 });
  const evaluator = (times: readonly (number | undefined)[]) => {
    const asked: { candidate: number; effort: number }[] = [];
    const evaluate = async (candidate: number, effort: number): Promise<Outcome> => {
      asked.push({ candidate, effort });
      const ms = times[candidate];
      return ms === undefined ? { refused: "no" } : { ms };
    };
    return { asked, evaluate };
  };

  test("without noise the fastest wins, the refused never do, and efforts only grow", async () => {
    await fc.assert(
      fc.asyncProperty(fields, async (times) => {
        const { asked, evaluate } = evaluator(times);
        const candidates = [...times.keys()];
        const ranked = await successiveHalving({ candidates, evaluate, hasTime: () => true });
        const good = times.filter((ms) => ms !== undefined);
        expect(ranked).toHaveLength(good.length);
        if (good.length > 0) {
          expect(ranked[0]).toMatchObject({ ms: Math.min(...good), effort: rungs.at(-1)?.effort });
        }
        const efforts = asked.map(({ effort }) => effort);
        expect(efforts).toEqual(efforts.toSorted((a, b) => a - b));
        for (const { effort } of rungs) {
          const own = asked.filter((one) => one.effort === effort).map((one) => one.candidate);
          expect(new Set(own).size).toBe(own.length);
        }
      }),
    );
  });

  test("when time is over, nothing more is tried, and what is known is ranked", async () => {
    await fc.assert(
      fc.asyncProperty(fields, fc.nat(30), async (times, most) => {
        const { asked, evaluate } = evaluator(times);
        const hasTime = () => asked.length < most;
        const candidates = [...times.keys()];
        const ranked = await successiveHalving({ candidates, evaluate, hasTime });
        expect(asked.length).toBeLessThanOrEqual(most);
        const known = new Set(asked.map(({ candidate }) => candidate));
        for (const { candidate, ms } of ranked) {
          expect(known.has(candidate)).toBe(true);
          expect(ms).toBe(times[candidate]);
        }
      }),
    );
  });
});

describe("knobs", () => {
  test("every change of one is a choice that can be stored; others are not", () => {
    const all = singleChanges();
    expect(new Set(all.map(choiceText)).size).toBe(all.length);
    for (const choice of all) expect(isChoice(JSON.parse(JSON.stringify(choice)))).toBe(true);
    expect(isChoice({})).toBe(true);
    for (const bad of [null, [], 3, { maxInFlight: 1e9 }, { __proto__x: 1 }, { period: "2" }]) {
      expect(isChoice(bad)).toBe(false);
    }
    expect(choiceText({})).toBe("the defaults");
    expect(choiceText({ period: 2, maxInFlight: 7 })).toBe("maxInFlight 7, period 2");
  });

  test("combinations change several knobs, each once, the most promising first", () => {
    const helpful = fc.uniqueArray(fc.nat(singleChanges().length - 1), { maxLength: 6 })
      .chain((picks) => fc.tuple(...picks.map((pick) =>
        fc.double({ min: 0.01, max: 1, noNaN: true }).map((gain) =>
          ({ choice: singleChanges()[pick]!, gain })))));
    fc.assert(
      fc.property(helpful, (helped) => {
        const made = combinations(helped);
        const gain = (choice: Choice) => helped
          .filter((one) => Object.entries(one.choice).every(([k, v]) => Reflect.get(choice, k) === v))
          .reduce((sum, one) => sum + one.gain, 0);
        for (const [i, choice] of made.entries()) {
          expect(Object.keys(choice).length).toBeGreaterThan(1);
          if (i > 0) expect(gain(made[i - 1]!)).toBeGreaterThanOrEqual(gain(choice) - 1e-12);
        }
        const perKnob = new Map<string, number>();
        for (const { choice } of helped) {
          const key = Object.keys(choice).join();
          perKnob.set(key, (perKnob.get(key) ?? 0) + 1);
        }
        const all = [...perKnob.values()].reduce((product, n) => product * (n + 1), 1);
        expect(made).toHaveLength(all - 1 - helped.length);
      }),
    );
  });

  test("each makes a plan that keeps the laws, or is refused in a sentence", async () => {
    for (const plan of singleChanges()) {
      const made = await compile(checkpoint, { plan, sms: 3 }).catch((error: unknown) => error);
      if (made instanceof Error) expect(made.message).toMatch(/\w+ \w+ \w+/);
      else expect(made).toMatchObject({ verification: { ok: true } });
    }
    expect(Object.keys(knobs).length).toBeGreaterThan(3);
  });
});

/** A machine on which a choice takes so many nanoseconds a token. */
function machine(nanos: (choice: Choice) => number, odd: (choice: Choice) => boolean = () => false) {
  let clock = 0;
  const opened: Choice[] = [];
  let held = 0;
  const request: TuneRequest = {
    minutes: 60, context: 16, tokens: 9,
    now: () => clock,
    async open(choice) {
      clock += 15_000;
      opened.push(choice);
      if (choice.period === 3) throw new PlanError("period 3 makes no plan here");
      if (choice.period === 4) throw inputError("does not fit", "x");
      held++;
      const { session } = fakeGpu({
        stepNanos: () => nanos(choice), ...(odd(choice) ? { token: (_, i) => i + 1 } : {}),
      });
      return { session, promptChunk: 8, close: async () => void held-- };
    },
  };
  return { request, opened, held: () => held };
}

describe("tune", () => {
  const gains = (choice: Choice) =>
    1e6 * (choice.maxInFlight === 7 ? 0.97 : 1) * (choice.stages === 16 ? 0.96 : 1) *
    (choice.stageBytes === 4096 ? 1.2 : 1);

  test("finds what helps, and that it helps together", async () => {
    const { request, held } = machine(gains);
    const found = await tune(request);
    expect(found).toMatchObject({ best: { maxInFlight: 7, stages: 16 }, outOfTime: false });
    expect(found.ms).toBeCloseTo(0.97 * 0.96, 6);
    expect(found.defaultMs).toBe(1);
    const refused = found.trials.filter(({ outcome }) => "refused" in outcome);
    expect(refused.map(({ candidate }) => candidate)).toEqual([{ period: 4 }, { period: 3 }]);
    expect(held()).toBe(0);
  });

  test("other tokens never win, however fast", async () => {
    const { request } = machine(gains, (choice) => choice.maxInFlight === 7);
    const found = await tune(request);
    expect(found.best).toEqual({ stages: 16 });
    expect(found.trials).toContainEqual(expect.objectContaining({
      candidate: { maxInFlight: 7 },
      outcome: { refused: "maxInFlight 7 gives other tokens than the defaults" },
    }));
  });

  test("only what is built is tried; what is not counts as out of time", async () => {
    const { request, opened } = machine(gains);
    const asked: number[] = [];
    const prepare = async (choices: readonly Choice[], mostSeconds: number) => {
      asked.push(mostSeconds);
      return choices.filter(({ maxInFlight }) => maxInFlight === undefined);
    };
    const found = await tune({ ...request, prepare });
    expect(found).toMatchObject({ best: { stages: 16 }, outOfTime: true });
    expect(opened.some(({ maxInFlight }) => maxInFlight !== undefined)).toBe(false);
    expect(asked[0]).toBe(1800);
  });

  test("other tokens from launch to launch never win", async () => {
    const { request } = machine(gains);
    const racing: TuneRequest = {
      ...request,
      open: async (choice) => choice.stages !== 16 ? request.open(choice) : {
        ...(await request.open(choice)),
        session: fakeGpu({ stepNanos: () => 1e5, token: (run, i) => (run === 1 ? 1 : i) }).session,
      },
    };
    const found = await tune(racing);
    expect(found.best).toEqual({ maxInFlight: 7 });
    expect(found.trials).toContainEqual(expect.objectContaining({
      outcome: { refused: "stages 16 gives other tokens from launch to launch" },
    }));
  });

  test("a kernel that faults ends the search with what is known: the GPU answers no more", async () => {
    const { request, opened } = machine(gains);
    const faulting: TuneRequest = {
      ...request,
      open: (choice) => {
        if (choice.maxInFlight !== 5) return request.open(choice);
        throw runtimeError("illegal address", "the kernel faulted: please report it; restart the process");
      },
    };
    const found = await tune(faulting);
    expect(found).toMatchObject({ fault: "illegal address", outOfTime: true, best: { stages: 16 } });
    expect(opened.some(({ stageBytes }) => stageBytes !== undefined)).toBe(false);
  });

  test("two answers are equal, or part where the logits are as near as their errors", () => {
    const rows = (...all: number[][]) => all.map((row) => Float32Array.from(row));
    const expected = { tokens: [0, 1, 0], logits: rows([9, 1, 0], [5, 5.01, 0], [7, 0, 1]) };
    expect(otherAnswer(expected, { ...expected, logits: [] })).toBeNull();
    const near = { tokens: [0, 0, 2], logits: rows([9, 1.01, 0], [5.01, 5, 0], [0, 1, 7]) };
    expect(otherAnswer(expected, near)).toBeNull();
    const far = { tokens: [1, 0, 2], logits: rows([8.9, 1, 0], [5, 5, 0], [0, 1, 7]) };
    expect(otherAnswer(expected, far)).toMatch(/another token/);
    const wrong = { tokens: [1, 1, 0], logits: rows([0, 9, 1], [5, 5, 0], [7, 0, 1]) };
    expect(otherAnswer(expected, wrong)).toMatch(/other logits than the defaults: \d+/);
    const broken = { tokens: [1, 1, 0], logits: rows([NaN, 9, 1], [5, 5, 0], [7, 0, 1]) };
    expect(otherAnswer(expected, broken)).toMatch(/NaN % off/);
    expect(otherAnswer(expected, { tokens: [1, 1, 0], logits: [] })).toMatch(/other tokens/);
  });

  test("noise is no gain: the defaults stay", async () => {
    const { request } = machine((choice) => (choice.stages === 16 ? 0.998e6 : 1e6));
    expect(await tune(request)).toMatchObject({ best: {}, ms: 1, defaultMs: 1 });
  });

  test("ends in its time, with the best it knows, one trial late at most", async () => {
    const { request, opened } = machine(gains);
    // One minute: four openings of 15 s, the first the default's.
    const found = await tune({ ...request, minutes: 1 });
    expect(found.outOfTime).toBe(true);
    expect(opened.length).toBeLessThanOrEqual(5);
    // After one launch of each, what is much faster wins; what may be noise does not.
    expect(found.best).toEqual({ stages: 16 });
    const { request: noisy } = machine((choice) => (choice.stages === 16 ? 0.99e6 : 1e6));
    expect((await tune({ ...noisy, minutes: 1 })).best).toEqual({});
    const stop = new AbortController();
    stop.abort();
    const stopped = await tune({ ...request, signal: stop.signal });
    expect(stopped).toMatchObject({ best: {}, outOfTime: true, trials: [] });
  });

  test("a default that does not run ends the search; so does a fault", async () => {
    const { request } = machine(gains);
    const broken = { ...request, open: async () => { throw inputError("no GPU", "buy one"); } };
    await expect(tune(broken)).rejects.toThrow("no GPU");
    let count = 0;
    const faulty: TuneRequest = {
      ...request,
      open: (choice) => {
        if (count++ > 0) throw new TypeError("a fault of ours");
        return request.open(choice);
      },
    };
    await expect(tune(faulty)).rejects.toThrow(TypeError);
  });
});

describe("what is kept", () => {
  const env = { XDG_CACHE_HOME: join(dir, "cache"), PATH: "/nowhere", CUDA_HOME: "/nowhere" };
  const tuned = { choice: { maxInFlight: 7, period: 2 }, ms: 0.9, defaultMs: 1 };

  test("comes back for the same model and machine, at any context, and for no other", async () => {
    const at = async (options: Parameters<typeof compile>[1]) => (await compile(checkpoint, options)).plan;
    const plan = await at({ sms: 4 });
    expect(readTuned(plan.program, plan.machine, env)).toBeNull();
    expect(writeTuned(plan.program, plan.machine, tuned, env).notice).toBeNull();
    expect(readTuned(plan.program, plan.machine, env)).toEqual(tuned);
    const longer = await at({ sms: 4, maxContext: 32 });
    expect(readTuned(longer.program, longer.machine, env)).toEqual(tuned);
    const other = await at({ sms: 5 });
    expect(readTuned(other.program, other.machine, env)).toBeNull();
    const wider = await at({ sms: 4, maxTokens: 2 });
    expect(readTuned(wider.program, wider.machine, env)).toBeNull();
  });

  test("is told and left out where it is damaged or knows knobs that there are none of", async () => {
    const { plan } = await compile(checkpoint, { sms: 6 });
    const path = tunedPath(plan.program, plan.machine, env);
    mkdirSync(dirname(path), { recursive: true });
    const good = { format: "mpk-tuned", version: 1, ...tuned };
    for (const bad of ["{", "null", "[]", { ...good, version: 2 }, { ...good, choice: { x: 1 } },
      { ...good, ms: "1" }]) {
      writeFileSync(path, typeof bad === "string" ? bad : JSON.stringify(bad));
      const notices: string[] = [];
      expect(readTuned(plan.program, plan.machine, env, (n) => notices.push(n))).toBeNull();
      expect(notices).toEqual([`${path} holds no tuned options: \`mpk tune\` writes it anew`]);
    }
    const nowhere = writeTuned(plan.program, plan.machine, tuned, { XDG_CACHE_HOME: "/proc/no" });
    expect(nowhere.notice).toMatch(/found but cannot be stored/);
  });

  test("is what open() takes on that GPU, and says; without if it fits no longer", async () => {
    // The fake H200 has no compiler: opening gets as far as the plan.
    const native = fakeNative(fakeFunctions({}));
    const opening = async (more: object) => {
      const notices: string[] = [];
      const onNotice = (notice: string) => void notices.push(notice);
      await expect(open(checkpoint, { device: "cuda", native, env, onNotice, ...more }))
        .rejects.toThrow(/no CUDA compiler/);
      return notices;
    };
    expect(await opening({})).toEqual([]);
    const fake = {
      name: "Fake H200", sms: 132, sharedBytes: 232_448, memoryBytes: 140 * 2 ** 30,
      readBytesPerSecond: machines.h200.readBytesPerSecond, l2Bytes: 50 * 2 ** 20,
    };
    const { plan } = await compile(checkpoint, { machine: fake });
    writeTuned(plan.program, fake, tuned, env);
    expect(await opening({})).toEqual(["tuned for this GPU: maxInFlight 7, period 2"]);
    expect(await opening({ tuned: false })).toEqual([]);
    expect(await opening({ plan: {} })).toEqual([]);
    // As many stages as a ring of this machine cannot have beside the rest.
    writeTuned(plan.program, fake, { ...tuned, choice: { stages: 24, stageBytes: 16384 } }, env);
    expect(await opening({})).toEqual([expect.stringMatching(/^what was tuned fits no longer/)]);
  });
});
