/**
 * @file Makes the pictures of docs/see.md from `mpk view` in chromium.
 *
 *     node --conditions=@mpk/source scripts/pictures.ts [--profile FILE.profile.json]
 *
 * With a profile of Llama-3.2-1B, its step is shown below the predicted one.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { runChild } from "./runs.ts";
import { findChromium } from "./tiers.ts";

const root = join(import.meta.dirname, "..");
const model = "llama-3.2-1b";

/** What is done to the page before each picture: code that runs there. */
const pictures = {
  step: "mpkView.fit()",
  layer: `(() => {
    const { plan, data, pick, state } = mpkView;
    const slots = [...plan.op.keys()];
    const slot = slots.find((one) => data.ops[plan.op[one]].name === "down_proj"
      && data.ops[plan.op[one]].layer === 7 && one > plan.order[60]);
    pick(slot, true);
    const reach = 45_000;
    state.view.perPixel = reach / mpkView.layout().inner;
    state.view.from = mpkView.runs[0].begins[slot] - 0.6 * reach;
    document.getElementById("path").click();
  })()`,
} as const;

const { values } = parseArgs({ options: { profile: { type: "string" } } });
const folder = mkdtempSync(join(tmpdir(), "mpk-pictures-"));
const out = join(root, "docs", "pictures");
mkdirSync(out, { recursive: true });
const page = join(folder, "view.html");
const profile = values.profile === undefined ? [] : ["--profile", values.profile];
const cli = join(root, "packages", "cli", "src", "main.ts");
const args = ["--conditions=@mpk/source", cli, "view", model, "--out", page, ...profile];
const { code } = await runChild(process.execPath, args, { cwd: root, seconds: 120 });
if (code !== 0) throw new Error("mpk view failed");
const browser = await chromium.launch({
  executablePath: findChromium() ?? "chromium", args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const height = values.profile === undefined ? 620 : 860;
  const tab = await browser.newPage({ viewport: { width: 1280, height }, colorScheme: "light" });
  await tab.goto(`file://${page}`);
  await tab.waitForFunction("window.mpkView !== undefined");
  for (const [name, action] of Object.entries(pictures)) {
    await tab.evaluate(action);
    await tab.waitForTimeout(300);
    await tab.screenshot({ path: join(out, `${name}.png`) });
    console.log(`wrote docs/pictures/${name}.png`);
  }
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
