/**
 * @file Every op, every family and every target's code on the CPU, in several thread orders. Flags in the data and
 * what is watched have files of their own.
 */
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

test("the shipped checkpoint on every SM of an H200", async () => {
  await using model = await open(kjv, { device: "emulated", sms: 132 });
  const [golden] = kjvGoldens;
  const tokens: number[] = [];
  const request = { promptIds: golden?.promptIds ?? [], maxTokens: 4 };
  for await (const token of model.session.generate(request)) tokens.push(token);
  expect(tokens).toEqual(golden?.greedyIds.slice(0, 4));
}, 5 * minutes);
