/** @file A kernel's own profile, from the emitted source run on the CPU to its accounts. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runPasses, splitAttention } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import type { InstructionTimes } from "@mpk/runtime";
import { afterAll, describe, expect, test, vi } from "vitest";
import { open } from "../../src/index.ts";
import { accountsOf, partNames } from "../../src/profile/index.ts";
import { layered, passed } from "../../../cuda/test/emitted/programs.ts";
import { writeCheckpoint } from "../checkpoint.ts";
import { attending, decoder, prompt } from "../emulated-programs.ts";
import { expectSame, runEmulated, type EmulatedCase } from "../emulated.ts";
import { expectInOrder, generate } from "./marks.ts";

// A busy machine may take long to compile; nothing here measures time.
vi.setConfig({ testTimeout: 300_000 });

const dir = mkdtempSync(join(tmpdir(), "mpk-profile-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const checkpoint = writeCheckpoint(join(dir, "tiny"));
const options = { device: "emulated", sms: 3, maxContext: 64 } as const;

test("marks come in order, producers before consumers, and the tokens are the same", async () => {
  await using opened = await open(checkpoint, { ...options, profile: true });
  const { tokens, profile } = await generate(opened, true);
  // With no step to keep, the marks change nothing; that they are all there is, the text shows.
  expect(await generate(opened, false)).toEqual({ tokens, profile: undefined });
  const { plan } = opened.compiled;
  expect(profile?.steps.map(({ step }) => step)).toEqual([3, 4, 5]);
  for (const { sms } of profile!.steps) {
    expect(sms).toHaveLength(3);
    const at = new Map<number, InstructionTimes>();
    for (const { sm, opened: gate, arrived, instructions } of sms) {
      const order = [...plan.order.items.subarray(plan.order.start[sm], plan.order.start[sm + 1])];
      expect(instructions).toHaveLength(order.length);
      let last = gate;
      expect(gate).toBeGreaterThanOrEqual(arrived);
      instructions.forEach((one, i) => {
        at.set(order[i]!, one);
        const streams = one.streamedBytes > 0;
        for (const mark of ["asked", "data", "consumed"] as const) {
          expect(one[mark] === null).toBe(!streams);
        }
        expectInOrder(last, one);
        last = one.end;
      });
    }
    for (let task = 0; task < plan.tasks.count; task++) {
      for (let i = plan.waits.start[task]!; i < plan.waits.start[task + 1]!; i++) {
        const event = plan.waits.items[i]!;
        if (plan.events.crossStep[event] === 1) continue;
        for (let other = 0; other < plan.tasks.count; other++) {
          const signals = plan.signals.items.subarray(
            plan.signals.start[other], plan.signals.start[other + 1],
          );
          if (!signals.includes(event)) continue;
          const { consumed, ready } = at.get(other)!;
          // Between the two clocks of a pair lies a reading.
          expect(at.get(task)!.ready + 100).toBeGreaterThanOrEqual(consumed ?? ready);
        }
      }
    }
  }
  const accounts = accountsOf(plan, profile!, 1e12);
  const sum = partNames.reduce((total, part) => total + accounts.parts[part].nanos, 0);
  expect(Math.abs(sum - accounts.stepNanos)).toBeLessThan(1e-3);
  for (const part of ["stream", "attention", "finish", "handOff", "prepare"] as const) {
    expect(accounts.parts[part].nanos).toBeGreaterThan(0);
  }
  expect(profile!.ringFull.flat().length).toBeGreaterThan(0);
});

describe("watched, marks", () => {
  const limits = { maxTokens: 3, maxContext: 128 };
  const watched: EmulatedCase = {
    program: passed(layered(2)), maxTokens: 3, scheduleSeed: 1, instrument: "races",
    planOptions: { protocol: "flag" }, profile: { firstStep: 0, steps: 2 },
  };

  test("make no race, in steps that are kept and in others", () => expectSame(watched));

  test("nor in attention in parts, or in steps of many tokens", async () => {
    const split = runPasses(attending({ heads: 4, kvHeads: 1, headDim: 64 }, limits), semanticsTable, [
      splitAttention(2),
    ]);
    await expectSame({ ...watched, program: split, sms: 2, promptIds: prompt(9) });
    await expectSame({ ...watched, program: decoder(16, 32), sms: 2, promptIds: prompt(21) });
  });

  test("that every warp stores do", async () => {
    const [one, all] = ["if (c.thread == kConsumerThreads - 64) mark(", "if (c.lane == 0) mark("];
    const edit = (source: string): string => {
      expect(source).toContain(one);
      return source.replace(one ?? "", all ?? "");
    };
    await expect(runEmulated({ ...watched, edit })).rejects.toThrow(/race/);
  });
});

test("mpk profile's trace and tables come from it", async () => {
  const { mpk } = await import("../../../cli/test/io.ts");
  const out = join(dir, "trace.json");
  const ran = await mpk(
    // The same kernel as above: one build.
    ["profile", checkpoint, "--device", "emulated", "--sms", "3", "--skip", "2", "--steps", "2",
      "--context", "59", "--out", out],
    { env: process.env },
  );
  expect(ran).toMatchObject({ code: 0, err: expect.stringContaining(`wrote ${out}`) });
  expect(ran.out).toMatch(/mean of 2 steps and all SMs\n\nfrom the floor to the step, µs\n/);
  expect(ran.out).toMatch(/gate_proj \+ up_proj( +\d+\.\d\d)+/);
  const trace = JSON.parse(readFileSync(out, "utf8")) as { traceEvents: object[] };
  expect(trace.traceEvents.length).toBeGreaterThan(100);
  const marks = JSON.parse(readFileSync(join(dir, "trace.profile.json"), "utf8"));
  expect(marks).toMatchObject({ format: "mpk-profile", accounts: { steps: 2 } });
});
