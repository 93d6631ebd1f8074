/** @file Flags in the data, in the emitted source on the CPU: what the virtual GPU computes. */
import { describe, expect, test } from "vitest";
import { layered, passed } from "../../cuda/test/emitted/programs.ts";
import { expectSame, planOf, runEmulated, type EmulatedCase } from "./emulated.ts";
import { expectGolden } from "./goldens.ts";

const decoder = passed(layered(2));

/** A decoder with flags, its text changed in one place. */
function broken(from: string, to: string): EmulatedCase {
  const edit = (source: string): string => {
    expect(source).toContain(from);
    return source.replace(from, to);
  };
  return { program: decoder, sms: 4, maxTokens: 6, planOptions: { protocol: "flag" }, edit };
}

test.each([0, 2])("a decoder, prompts of several tokens and of one, seed %i", async (seed) => {
  const planOptions = { protocol: "flag" } as const;
  const common = { program: decoder, sms: 4, planOptions, scheduleSeed: seed };
  expect(planOf(common).flags.value.length).toBeGreaterThan(5);
  await expectSame({ ...common, maxTokens: 8 });
  await expectSame({ ...common, promptIds: [3] });
});

test("a decoder has no race, nor an access without the order it needs", async () => {
  const common = { program: decoder, planOptions: { protocol: "flag" }, maxTokens: 3 } as const;
  for (const promptIds of [[5], [1, 5, 3, 2]]) {
    await expectSame({ ...common, promptIds, scheduleSeed: 1, instrument: "races" });
  }
});

test("a family's small checkpoint, as transformers computes it", async () => {
  const plan = { protocol: "flag" } as const;
  await expectGolden("qwen3", 2e-2, { device: "emulated", sms: 4, scheduleSeed: 6, plan });
});

describe("a kernel that breaks the protocol is found", () => {
  test("one that clears no word", async () => {
    const clear = "store_relaxed_gpu(reinterpret_cast<u32*>(other), kAbsent);";
    await expect(expectSame(broken(clear, ""))).rejects.toThrow(/expected/);
  });

  test("one whose words never come: the watchdog names the value", async () => {
    const silent = broken("if (mine && !aborted) store_word", "if (mine && c.sm != 1) store_word");
    await expect(runEmulated(silent)).rejects.toThrow(
      /waited for words of its input 0, the flagged \w+.*: expected 1, saw 0/,
    );
  });
});
