/** @file A test file's tier comes from its name; a tier that cannot run says why. */
import { describe, expect, it } from "vitest";
import { detectTiers, tierOf } from "./tiers.ts";

describe("tiers", () => {
  it("reads the tier from the file's name", () => {
    expect(tierOf("packages/ir/src/print.test.ts")).toBe("unit");
    expect(tierOf("packages/ir/src/print.long.test.ts")).toBe("unit");
    expect(tierOf("packages/schedule/test/ring.spin.test.ts")).toBe("spin");
    expect(tierOf("packages/cli/test/view.browser.test.ts")).toBe("browser");
    expect(tierOf("packages/cuda/test/emit.nvcc.test.ts")).toBe("nvcc");
    expect(tierOf("packages/cuda/test/emit.emu.long.test.ts")).toBe("emu");
    expect(tierOf("packages/runtime/test/tokens.gpu.test.ts")).toBe("gpu");
  });

  it("always has the unit tier, and a reason for every tier that is missing", () => {
    const tiers = detectTiers();
    expect(tiers.map((tier) => tier.name)).toEqual(["unit", "spin", "browser", "emu", "nvcc", "gpu"]);
    expect(tiers[0]?.missing).toBeNull();
    for (const { missing } of tiers) expect(missing).not.toBe("");
  });
});
