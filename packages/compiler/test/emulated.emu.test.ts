/** @file The emitted source, run on the CPU, computes what the virtual GPU computes. */
import { describe, expect, test, vi } from "vitest";
import { attentionForms, everyOp, layered, linears, passed } from
  "../../cuda/test/emitted/programs.ts";
import { open } from "../src/index.ts";
import { attending, paths } from "./emulated-programs.ts";
import { expectSame } from "./emulated.ts";
import { expectGolden, families, kjv } from "./goldens.ts";

// A busy machine may take long to compile; nothing here measures time.
vi.setConfig({ testTimeout: 300_000 });

describe("as the virtual GPU computes it", () => {
  test.each(paths)("every op of the table, for %s", async (target) => {
    await expectSame({ program: everyOp(), target });
  });

  test("linears in every form, by cp.async, threads in random order", async () => {
    await expectSame({ program: linears(), target: "sm_80", scheduleSeed: 3 });
  });

  test("a decoder, with few keys held at once, threads in random order", async () => {
    const program = passed(layered(2));
    await expectSame({ program, target: "sm_120", sms: 4, maxTokens: 8, scheduleSeed: 4 });
  });

  test("attention with grouped heads, norms and a window", async () => {
    const form = attentionForms.find(({ window, qkNorm }) => window === 64 && qkNorm === true);
    if (form === undefined) throw new Error("no such form");
    await expectSame({ program: attending(form), sms: 2, maxTokens: 6 });
  });
});

describe("watched", () => {
  test("no race, by bulk copies", async () => {
    const program = passed(layered(2));
    for (const scheduleSeed of [1, 2]) {
      await expectSame({ program, scheduleSeed, instrument: "races", promptIds: [5] });
    }
  });

  test("no race, by cp.async", async () => {
    for (const program of [passed(layered(2)), everyOp()]) {
      await expectSame({ program, target: "sm_80", scheduleSeed: 3, instrument: "races" });
    }
  });

  test("nothing out of bounds, nothing undefined", async () => {
    await expectSame({ program: passed(layered(2)), scheduleSeed: 4, instrument: "memory" });
  });
});

// Every family, and every op on every target; all of both in the long tests.
test.each(families.map((family, i) => [family, paths[i % paths.length] ?? "sm_90a"] as const))(
  "%s, as transformers computes it, for %s",
  async (family, target) => {
    await expectGolden(family, 2e-2, { device: "emulated", target, sms: 4 });
  },
);

const generate = async (scheduleSeed: number): Promise<readonly number[]> => {
  await using model = await open(kjv, { device: "emulated", scheduleSeed });
  const tokens: number[] = [];
  for await (const token of model.session.generate({ promptIds: [0, 1145, 260], maxTokens: 3 })) {
    tokens.push(token);
  }
  return tokens;
};

test("the shipped checkpoint says the same whatever thread runs first", async () => {
  const [once, other] = [await generate(1), await generate(2)];
  expect(once).toHaveLength(3);
  expect(other).toEqual(once);
});

test("a generation can be stopped, and the next prompt is answered", async () => {
  await using model = await open(kjv, { device: "emulated" });
  const run = model.session.generate({ promptIds: [0, 1145, 260], maxTokens: 200 });
  for await (const _ of run) break;
  const next = model.session.generate({ promptIds: [0, 1145, 260], maxTokens: 1 });
  for await (const token of next) expect(token).toBe((await generate(0))[0]);
  expect(next.summary()).toMatchObject({ tokens: 1, finish: "maxTokens" });
});
