/** @file The viewer draws a whole step of Qwen3-8B fast enough to follow the hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mpk } from "../io.ts";
import { openPage, startBrowser } from "./browser.ts";

/** 60 frames a second. */
const mostMillis = 16;

test("panning Qwen3-8B's step, predicted above another, takes 16 ms a frame at any zoom", async () => {
  const dir = mkdtempSync(join(tmpdir(), "mpk-frames-"));
  const browser = await startBrowser();
  try {
    const [page8, trace] = [join(dir, "8b.html"), join(dir, "8b.json")];
    expect(await mpk(["simulate", "qwen3-8b", "--out", trace])).toMatchObject({ code: 0 });
    const profile = join(dir, "8b.profile.json");
    const view = ["view", "qwen3-8b", "--profile", profile, "--out", page8];
    expect(await mpk(view)).toMatchObject({ code: 0 });
    const { page, errors } = await openPage(browser, page8);
    for (const zoom of [1, 0.2, 0.02]) {
      const median = await page.evaluate(async (factor) => {
        const { state, fit, frame, layout } = window.mpkView;
        fit();
        state.view.perPixel *= factor;
        const times: number[] = [];
        for (let i = 0; i < 60; i++) {
          state.view.from += (layout().inner * state.view.perPixel) / 100;
          times.push(frame());
          await new Promise((done) => requestAnimationFrame(done));
        }
        return times.toSorted((a, b) => a - b)[30] ?? Infinity;
      }, zoom);
      console.log(`zoom ${zoom}: ${median.toFixed(1)} ms a frame`);
      expect(median).toBeLessThan(mostMillis);
    }
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
