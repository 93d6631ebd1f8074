/** @file The viewer in a real browser: what it draws, and what pointer, keys and files do. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { differingShare, goldenPicture, openPage, settled, startBrowser } from "./browser.ts";
import { makePages, type Pages } from "./pages.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-view-"));
let browser: Browser;
let pages: Pages;
beforeAll(async () => {
  [browser, pages] = await Promise.all([startBrowser(), makePages(join(dir, "tiny"))]);
});
afterAll(async () => {
  await browser?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Where a slot's bar is in the window, in a run. */
const middleOf = (page: Page, slot: number, run = 0) => page.evaluate(([index, row]) => {
  const { runs, plan, state, xOf, yOf } = window.mpkView;
  const sm = plan.order.findLastIndex((start) => start <= index);
  const one = runs[row];
  const box = document.querySelector("#over")?.getBoundingClientRect();
  if (one === undefined || box === undefined) throw new Error("no run");
  const end = one.ends[index * 10 + 9] ?? 0;
  return {
    x: box.left + xOf(((one.begins[index] ?? 0) + end) / 2),
    y: box.top + yOf(row, sm) + state.laneHeight / 2,
    sm,
  };
}, [slot, run] as const);

/** A slot with work, in the middle of the step. */
const someSlot = (page: Page, name: string): Promise<number> => page.evaluate((wanted) => {
  const { plan, data } = window.mpkView;
  const found = [...plan.op.keys()].filter((slot) => data.ops[plan.op[slot] ?? 0]?.name === wanted);
  return found[Math.floor(found.length / 2)] ?? -1;
}, name);

const pickedSlot = (page: Page): Promise<number | null> =>
  page.evaluate(() => window.mpkView.state.picked?.slot ?? null);

describe("one run", () => {
  test("opens from disk without an error and asks for nothing", async () => {
    const { page, errors, requests } = await openPage(browser, pages.one);
    expect(await page.title()).toMatch(/: one step on 6 SMs$/);
    expect(await page.locator("#legend span").count()).toBe(10);
    expect([errors, requests]).toEqual([[], []]);
    await page.close();
  });

  test("draws each moment in the colour of what the SM did", async () => {
    const { page } = await openPage(browser, pages.one);
    const wrong = await page.evaluate(() => {
      const { runs, plan, xOf, yOf, state } = window.mpkView;
      const swatches = [...document.querySelectorAll<HTMLElement>("#legend i")]
        .map((one) => getComputedStyle(one).backgroundColor);
      const pen = document.querySelector<HTMLCanvasElement>("#lanes")?.getContext("2d");
      const run = runs[0];
      if (pen === null || pen === undefined || run === undefined) return ["no canvas"];
      const found: string[] = [];
      let seen = 0;
      for (let sm = 0; sm + 1 < plan.order.length; sm++) {
        for (let slot = plan.order[sm] ?? 0; slot < (plan.order[sm + 1] ?? 0); slot++) {
          let from = run.begins[slot] ?? 0;
          for (let cause = 0; cause < 10; cause++) {
            const to = run.ends[slot * 10 + cause] ?? 0;
            const [x0, x1] = [xOf(from), xOf(to)];
            from = Math.max(from, to);
            if (x1 - x0 < 3) continue;
            const y = Math.floor(yOf(0, sm) + state.laneHeight / 2);
            const [r, g, b] = pen.getImageData(Math.floor((x0 + x1) / 2), y, 1, 1).data;
            seen++;
            if (`rgb(${r}, ${g}, ${b})` !== swatches[cause]) found.push(`${slot} ${cause}`);
          }
        }
      }
      return seen > 100 ? found : [`only ${seen} bars`];
    });
    expect(wrong).toEqual([]);
    await page.close();
  });

  test("cuts steps as mpk profile's accounts do", async () => {
    const { page } = await openPage(browser, pages.two);
    const seen = await page.evaluate(() => {
      const { runs, plan } = window.mpkView;
      const run = runs[1];
      const sums = Array.from({ length: 10 }, () => 0);
      for (const slot of run === undefined ? [] : plan.op.keys()) {
        let from = run?.begins[slot] ?? 0;
        for (let cause = 0; cause < 10; cause++) {
          const to = run?.ends[slot * 10 + cause] ?? 0;
          sums[cause] = (sums[cause] ?? 0) + to - from;
          from = to;
        }
      }
      return sums.map((sum) => sum / (plan.order.length - 1));
    });
    const { accounts: { parts } } = JSON.parse(readFileSync(pages.profile, "utf8"));
    // Between tasks, and what an SM does after its last weights, the accounts count otherwise.
    for (const [cause, name] of [[4, "prepare"], [5, "ringEmpty"], [6, "stream"], [8, "finish"]] as const) {
      expect(seen[cause], name).toBeCloseTo(parts[name].nanos, 0);
    }
    await page.close();
  });

  test("the wheel zooms at the pointer, keys zoom and move, 0 shows the whole step", async () => {
    const { page } = await openPage(browser, pages.one);
    const view = () => page.evaluate(() => ({ ...window.mpkView.state.view }));
    const box = await page.locator("#over").boundingBox();
    const x = (box?.x ?? 0) + 500;
    await page.mouse.move(x, (box?.y ?? 0) + 200);
    const before = await view();
    const under = (v: { from: number; perPixel: number }) => v.from + (500 - 46) * v.perPixel;
    await page.mouse.wheel(0, -400);
    await settled(page);
    const after = await view();
    expect(after.perPixel).toBeLessThan(before.perPixel / 2);
    expect(Math.abs(under(after) - under(before))).toBeLessThan(1);
    await page.keyboard.press("ArrowRight");
    expect((await view()).from).toBeCloseTo(after.from + 80 * after.perPixel, 3);
    await page.keyboard.press("+");
    expect((await view()).perPixel).toBeLessThan(after.perPixel);
    await page.mouse.down();
    await page.mouse.move(x - 60, (box?.y ?? 0) + 200, { steps: 3 });
    await page.mouse.up();
    expect((await view()).from).toBeGreaterThan(after.from + 80 * after.perPixel);
    await page.keyboard.press("0");
    expect(await view()).toMatchObject({ from: 0, perPixel: before.perPixel });
    await page.close();
  });

  test("the pointer tells a task's op, layer, regions, bytes and whom it waits for", async () => {
    const { page } = await openPage(browser, pages.one);
    const slot = await someSlot(page, "o_proj");
    await page.evaluate((one) => window.mpkView.pick(one, true), slot);
    await settled(page);
    const { x, y, sm } = await middleOf(page, slot);
    await page.mouse.move(x, y);
    const tip = await page.locator("#tip").innerText();
    expect(tip).toMatch(new RegExp(`^o_proj · layers\\.\\d\\.self_attn, SM ${sm}, tiles \\d+\\.\\.\\d+, layer \\d`));
    expect(tip).toMatch(/decoder\.ts:\d+:\d+/);
    expect(tip).toMatch(/KiB of weights\n(reads .*\n)+writes .*\[\d+\.\.\d+\)\nwaits for attention/);
    await page.mouse.move(5, 5);
    expect(await page.locator("#tip").isHidden()).toBe(true);
    await page.close();
  });

  test("a click shows the task; following what held it up goes back along the edges", async () => {
    const { page } = await openPage(browser, pages.one);
    const slot = await someSlot(page, "down_proj");
    const { x, y } = await middleOf(page, slot);
    await page.mouse.click(x, y);
    expect(await pickedSlot(page)).toBe(slot);
    expect(await page.locator("#task h3").innerText()).toMatch(/^down_proj/);
    const held = await page.evaluate((one) =>
      window.mpkView.heldUpBy(window.mpkView.runs[0], one), slot);
    await page.locator("#held button").click();
    expect(await pickedSlot(page)).toBe(held);
    // Back to the step's start, each task ending before what it held up.
    const ends: number[] = [];
    for (let i = 0; i < 200; i++) {
      const before = await pickedSlot(page);
      await page.keyboard.press("p");
      const now = await pickedSlot(page);
      if (now === before) break;
      ends.push(await page.evaluate((one) => window.mpkView.runs[0]?.marks[one * 9 + 7] ?? 0, now ?? 0));
    }
    expect(ends.length).toBeGreaterThan(2);
    expect(ends).toEqual([...ends].sort((a, b) => b - a));
    await page.keyboard.press("Escape");
    expect(await pickedSlot(page)).toBeNull();
    await page.close();
  });

  test("the critical path ends with the step and begins with it, edge by edge", async () => {
    const { page } = await openPage(browser, pages.one);
    await page.keyboard.press("c");
    const told = await page.locator("#told").innerText();
    expect(told).toMatch(/critical path, predicted: \d+ tasks; \w+ \d+ µs/);
    const wrong = await page.evaluate(() => {
      const { state, runs, plan, producersOf } = window.mpkView;
      const [run] = runs;
      const path = state.path ?? [];
      if (run === undefined) return ["no run"];
      const end = (slot: number): number => run.marks[slot * 9 + 7] ?? 0;
      const found: string[] = [];
      const last = path.at(-1) ?? 0;
      if ([...plan.op.keys()].some((slot) => end(slot) > end(last))) found.push("does not end last");
      path.slice(1).forEach((slot, i) => {
        const before = path[i] ?? -1;
        if (before !== slot - 1 && !producersOf(slot).includes(before)) found.push(`${before} ${slot}`);
      });
      if (producersOf(path[0] ?? 0).length > 0) found.push("begins in the middle");
      return found;
    });
    expect(wrong).toEqual([]);
    await page.keyboard.press("c");
    expect(await page.locator("#told").innerText()).toBe("");
    await page.close();
  });

  test("search finds ops and SMs, dims the rest and steps through what it found", async () => {
    const { page } = await openPage(browser, pages.one);
    await page.keyboard.press("/");
    await page.keyboard.type("layers.1 o_proj");
    expect(await page.locator("#found").innerText()).toMatch(/^1 ops/);
    await page.keyboard.press("Enter");
    expect(await page.locator("#task h3").innerText()).toMatch(/^o_proj · layers\.1/);
    await page.locator("#search").fill("no such thing");
    expect(await page.locator("#found").innerText()).toMatch(/^0 ops/);
    await page.locator("#search").fill("SM 4");
    expect(await page.locator("#found").innerText()).toBe("SM 4");
    await page.locator("#search").press("Escape");
    expect(await page.evaluate(() => window.mpkView.state.chosen)).toBeNull();
    await page.close();
  });

  test("Program and TypeScript lead to bars, and bars to them", async () => {
    const { page } = await openPage(browser, pages.one);
    const line = page.locator("#program .op", { hasText: "attention" }).first();
    await line.click();
    expect(await page.locator("#task h3").innerText()).toMatch(/^attention/);
    expect(await page.locator("#program .picked").innerText()).toContain("attention");
    expect(await page.locator("#source-name").innerText()).toMatch(/decoder\.ts:\d+:\d+/);
    expect(await page.locator("#source-text .picked").innerText()).toMatch(/attention/);
    await page.locator("#source-text .picked").click();
    expect(await page.locator("#found").innerText()).toMatch(/^2 ops: .*decoder\.ts:\d+$/);
    await page.close();
  });

  test("keys change colours and theme", async () => {
    const { page } = await openPage(browser, pages.one);
    const theme = () => page.evaluate(() => document.documentElement.dataset["theme"] ?? "");
    const pixel = () => page.evaluate(() => {
      const pen = document.querySelector<HTMLCanvasElement>("#lanes")?.getContext("2d");
      return [...(pen?.getImageData(2, 2, 1, 1).data ?? [])].slice(0, 3);
    });
    const light = await pixel();
    await page.keyboard.press("t");
    await settled(page);
    expect(await theme()).toBe("dark");
    expect((await pixel())[0]).toBeLessThan((light[0] ?? 0) - 100);
    await page.keyboard.press("k");
    expect(await page.evaluate(() => window.mpkView.state.mode)).toBe("op");
    expect(await page.locator("#legend").innerText()).toContain("o_proj");
    await page.close();
  });
});

describe("two runs", () => {
  test("have one scale, and a table of differences", async () => {
    const { page, errors } = await openPage(browser, pages.two);
    const [a, b] = await page.evaluate(() => window.mpkView.runs.map((run) => run.stepNanos));
    expect(b ?? 0).toBeGreaterThan((a ?? 0) * 1.1);
    const head = await page.locator("#ops tr").first().innerText();
    expect(head).toMatch(/predicted\s+measured\s+difference/);
    const slot = await someSlot(page, "o_proj");
    const [above, below] = [await middleOf(page, slot, 0), await middleOf(page, slot, 1)];
    await page.mouse.click(below.x, below.y);
    expect(await page.evaluate(() => window.mpkView.state.picked)).toEqual({ slot, run: 1 });
    expect(below.y).toBeGreaterThan(above.y);
    const row = await page.locator("#task .total").innerText();
    expect(row).toMatch(/all\s+[\d.]+\s+[\d.]+/);
    expect(errors).toEqual([]);
    await page.close();
  });

  test("a profile's file can be added; what is none, or another model's, is refused in words", async () => {
    const { page } = await openPage(browser, pages.one);
    const file = page.locator("#file");
    const cut = join(dir, "cut.profile.json");
    const text = readFileSync(pages.profile, "utf8");
    writeFileSync(cut, text.slice(0, text.length / 2));
    const foreign = join(dir, "foreign.json");
    writeFileSync(foreign, `{"name":"left-pad","version":"1.0.0"}`);
    const hollow = join(dir, "hollow.profile.json");
    writeFileSync(hollow, `{"format":"mpk-profile","version":1,"steps":[{"step":0}]}`);
    for (const [path, message] of [
      [foreign, /foreign\.json: is no profile; give the \.profile\.json/],
      [cut, /cut\.profile\.json: not JSON .*written to its end\?/],
      [join(pages.folder, "slow.json"), /slow\.json: is a Chrome trace.*\.profile\.json beside it/],
      [pages.other, /other\.profile\.json: is of another model or plan: SM \d+ runs/],
      [hollow, /hollow\.profile\.json: is no profile that mpk wrote/],
    ] as const) {
      await file.setInputFiles(path);
      await page.locator("#error:visible").waitFor();
      await page.waitForFunction((name) =>
        document.querySelector("#error")?.textContent?.startsWith(name), basename(path));
      expect(await page.locator("#error").innerText()).toMatch(message);
      expect(await page.evaluate(() => window.mpkView.runs.length)).toBe(1);
    }
    await file.setInputFiles(pages.profile);
    await page.waitForFunction(() => window.mpkView.runs.length === 2);
    expect(await page.locator("#error").isHidden()).toBe(true);
    expect(await page.locator("#ops tr").first().innerText()).toContain("slow.profile.json");
    await page.close();
  });

  /** Letters are drawn otherwise elsewhere; bars are not. */
  const tolerance = 0.03;
  test.each(["light", "dark"] as const)("look as they did: %s", async (scheme) => {
    const { page } = await openPage(browser, pages.two, scheme);
    const slot = await someSlot(page, "down_proj");
    await page.evaluate((one) => window.mpkView.pick(one), slot);
    await page.keyboard.press("c");
    await settled(page);
    const seen = await page.screenshot();
    const share = await differingShare(browser, seen, goldenPicture(`two-${scheme}`, seen));
    expect(share).toBeLessThan(tolerance);
    await page.close();
  });

  test("print on white, with the lanes drawn for it", async () => {
    const { page } = await openPage(browser, pages.two, "dark");
    await page.emulateMedia({ media: "print" });
    const ground = await page.evaluate(() => {
      dispatchEvent(new Event("beforeprint"));
      const pen = document.querySelector<HTMLCanvasElement>("#lanes")?.getContext("2d");
      return [...(pen?.getImageData(2, 2, 1, 1).data ?? [])].slice(0, 3);
    });
    expect(Math.min(...ground)).toBeGreaterThan(240);
    expect(await page.locator(".bar").isHidden()).toBe(true);
    expect((await page.pdf()).length).toBeGreaterThan(10_000);
    await page.close();
  });
});
