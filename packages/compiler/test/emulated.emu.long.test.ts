/** @file Every op, every family and every target's code on the CPU, in several thread orders. */
import { describe, expect, test } from "vitest";
import {
  attentionForms, everyOp, layered, linears, passed, smallOps,
} from "../../cuda/test/emitted/programs.ts";
import { attending, paths } from "./emulated-programs.ts";
import { expectSame } from "./emulated.ts";
import { expectGolden, families, kjv, kjvGoldens } from "./goldens.ts";
import { open } from "../src/index.ts";

const minutes = 60_000;

describe.each(paths)("%s, as the virtual GPU computes it", (target) => {
  const programs = [everyOp(), smallOps(), linears(), passed(layered(3))];
  test.each(programs)("$name", async (program) => {
    for (const [sms, scheduleSeed] of [[3, 0], [7, 1], [2, 2], [1, 3], [5, 4]] as const) {
      await expectSame({ program, target, sms, scheduleSeed, maxTokens: 6 });
    }
  }, 5 * minutes);

  test.each(attentionForms)("attention $heads/$kvHeads of $headDim", async (form) => {
    for (const scheduleSeed of [0, 5]) {
      await expectSame({ program: attending(form), target, sms: 2, maxTokens: 6, scheduleSeed });
    }
  }, minutes);

  test.each(families)("%s, as transformers computes it", async (family) => {
    await expectGolden(family, 2e-2, { device: "emulated", target, sms: 4, scheduleSeed: 6 });
  }, minutes);
});

/** The first adversarial schedules; MPK_SEEDS asks for more. */
const seeds = Array.from({ length: Number(process.env["MPK_SEEDS"] ?? "12") }, (_, i) => i + 1);

describe.each(["sm_90a", "sm_80"])("%s, watched", (target) => {
  const programs = [everyOp(), linears(), passed(layered(2))];
  test.each(programs)("no race in $name", async (program) => {
    for (const scheduleSeed of seeds) {
      const promptIds = scheduleSeed % 2 === 0 ? [5] : [1, 5, 3];
      await expectSame({ program, target, scheduleSeed, instrument: "races", promptIds });
    }
  }, 10 * minutes);

  test.each(programs)("nothing out of bounds in $name", async (program) => {
    for (const scheduleSeed of [0, 1]) {
      await expectSame({ program, target, scheduleSeed, instrument: "memory" });
    }
  }, 5 * minutes);

  test.each(attentionForms)("no race in attention $heads/$kvHeads of $headDim", async (form) => {
    const program = attending(form);
    for (const promptIds of [[5], [1, 5, 3]]) {
      await expectSame({ program, target, promptIds, scheduleSeed: 1, instrument: "races" });
    }
  }, 5 * minutes);
});

describe.each(["sm_90a", "sm_80"])("flags in the data on %s", (target) => {
  const plan = { protocol: "flag" } as const;
  test.each(families)("%s, as transformers computes it", async (family) => {
    for (const [sms, scheduleSeed] of [[4, 6], [3, 0], [7, 7]] as const) {
      await expectGolden(family, 2e-2, { device: "emulated", target, sms, scheduleSeed, plan });
    }
  }, 5 * minutes);

  test.each([smallOps(), linears(), passed(layered(3))])("$name", async (program) => {
    for (const [sms, scheduleSeed] of [[3, 0], [7, 1], [2, 2], [5, 4]] as const) {
      for (const promptIds of [[1, 5, 3, 2, 8, 13, 7], [4]]) {
        const planOptions = plan;
        await expectSame({ program, target, sms, scheduleSeed, maxTokens: 6, promptIds, planOptions });
      }
    }
  }, 5 * minutes);
});

test("the shipped checkpoint on every SM of an H200", async () => {
  await using model = await open(kjv, { device: "emulated", sms: 132 });
  const [golden] = kjvGoldens;
  const tokens: number[] = [];
  const request = { promptIds: golden?.promptIds ?? [], maxTokens: 4 };
  for await (const token of model.session.generate(request)) tokens.push(token);
  expect(tokens).toEqual(golden?.greedyIds.slice(0, 4));
}, 5 * minutes);
