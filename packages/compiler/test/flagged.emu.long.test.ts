/** @file Flags in the data: every family and every form of linear, in several thread orders. */
import { describe, test } from "vitest";
import { layered, linears, passed, smallOps } from "../../cuda/test/emitted/programs.ts";
import { expectSame } from "./emulated.ts";
import { expectGolden, families } from "./goldens.ts";

const minutes = 60_000;

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
