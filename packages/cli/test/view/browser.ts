/** @file Pages in Debian's chromium: opened from disk, with every error and request they make. */
/// <reference lib="dom" />
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { findChromium } from "../../../../scripts/tiers.ts";

/** What the page tells its tests. */
declare global {
  interface Window {
    mpkView: ViewHandle;
  }
}
export interface ViewHandle {
  readonly state: {
    view: { from: number; perPixel: number; lane: number };
    laneHeight: number;
    picked: { slot: number; run: number } | null;
    path: readonly number[] | null;
    chosen: ReadonlySet<number> | null;
    mode: string;
  };
  readonly runs: readonly {
    readonly label: string;
    readonly stepNanos: number;
    readonly marks: Float32Array;
    readonly begins: Float32Array;
    readonly ends: Float32Array;
  }[];
  readonly plan: { readonly order: Int32Array; readonly op: Int32Array };
  readonly data: { readonly ops: readonly { readonly name: string; readonly line: number }[] };
  frame(): number;
  fit(): void;
  pick(slot: number, center?: boolean): void;
  layout(): { readonly inner: number; readonly each: number; readonly rows: readonly number[] };
  heldUpBy(run: unknown, slot: number): number | null;
  criticalPath(run: unknown): readonly number[];
  producersOf(slot: number): readonly number[];
  xOf(nanos: number): number;
  yOf(run: number, sm: number): number;
}

/** As root, as CI often runs, chromium has no sandbox to set up. */
export const startBrowser = (): Promise<Browser> => chromium.launch({
  executablePath: findChromium() ?? "chromium",
  args: ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
});

export interface Opened {
  readonly page: Page;
  /** Errors that the page threw or wrote. */
  readonly errors: readonly string[];
  /** Addresses that it asked for beyond itself. */
  readonly requests: readonly string[];
}

export async function openPage(
  browser: Browser,
  path: string,
  colorScheme: "light" | "dark" = "light",
): Promise<Opened> {
  const context = await browser.newContext({
    viewport: { width: 1300, height: 800 }, colorScheme, deviceScaleFactor: 1,
  });
  const page = await context.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  const own = pathToFileURL(path).href;
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("request", (request) => {
    if (request.url() !== own) requests.push(request.url());
  });
  await page.goto(own);
  await page.waitForFunction(() => window.mpkView !== undefined);
  await settled(page);
  return { page, errors, requests };
}

/** What was asked of the page is drawn. */
export const settled = (page: Page): Promise<unknown> =>
  page.evaluate(() => new Promise((done) => {
    requestAnimationFrame(() => requestAnimationFrame(() => done(null)));
  }));

/** Share of pixels that differ clearly; text may look a little different on another machine. */
export async function differingShare(browser: Browser, a: Buffer, b: Buffer): Promise<number> {
  const page = await browser.newPage();
  try {
    const urls = [a, b].map((png) => `data:image/png;base64,${png.toString("base64")}`);
    return await page.evaluate(async (both) => {
      const images = await Promise.all(both.map(async (src) => {
        const image = new Image();
        image.src = src;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        const pen = canvas.getContext("2d");
        if (pen === null) throw new Error("no canvas");
        pen.drawImage(image, 0, 0);
        return pen.getImageData(0, 0, image.width, image.height);
      }));
      const [x, y] = images;
      if (x === undefined || y === undefined) return 1;
      if (x.width !== y.width || x.height !== y.height) return 1;
      let differing = 0;
      for (let i = 0; i < x.data.length; i += 4) {
        const far = [0, 1, 2].some((c) => Math.abs((x.data[i + c] ?? 0) - (y.data[i + c] ?? 0)) > 48);
        if (far) differing++;
      }
      return differing / (x.data.length / 4);
    }, urls);
  } finally {
    await page.close();
  }
}

/** The golden picture of a name; MPK_UPDATE_GOLDENS=1 writes what was seen instead. */
export function goldenPicture(name: string, seen: Buffer): Buffer {
  const golden = new URL(`./goldens/${name}.png`, import.meta.url);
  const isCi = (process.env["CI"] ?? "") !== "";
  if (process.env["MPK_UPDATE_GOLDENS"] === "1" && !isCi) writeFileSync(golden, seen);
  if (existsSync(golden)) return readFileSync(golden);
  throw new Error(
    `no golden ${golden.pathname}: look at the page, then MPK_UPDATE_GOLDENS=1 vitest run packages/cli/test/view`,
  );
}
