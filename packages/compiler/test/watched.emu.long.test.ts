/**
 * @file No race and nothing out of bounds in any op, any family and any target's code, in many adversarial
 * schedules.
 */
import { describe, test } from "vitest";
import {
  attentionForms, everyOp, layered, linears, passed,
} from "../../cuda/test/emitted/programs.ts";
import { attending, paths } from "./emulated-programs.ts";
import { expectSame } from "./emulated.ts";
import { expectGolden, families } from "./goldens.ts";

const minutes = 60_000;

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

// The other two targets share most of their code with these.
describe.each(paths.slice(1))("%s, watched", (target) => {
  test.each(["races", "memory"] as const)("every op: %s", async (instrument) => {
    for (const scheduleSeed of [1, 2, 3]) {
      await expectSame({ program: everyOp(), target, scheduleSeed, instrument });
    }
  }, 5 * minutes);
});

describe.each(["races", "memory"] as const)("families, watched for %s", (instrument) => {
  test.each(families)("%s", async (family) => {
    await expectGolden(family, 2e-2, { device: "emulated", sms: 3, scheduleSeed: 8, instrument });
  }, 5 * minutes);
});
