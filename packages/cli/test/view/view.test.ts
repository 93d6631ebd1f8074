/** @file mpk view on the command line: one file without a network, and bad input told in words. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mpk } from "../io.ts";
import { makePages, type Pages } from "./pages.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-view-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let pages: Pages;
beforeAll(async () => {
  pages = await makePages(join(dir, "tiny"));
});

const dataOf = (path: string) =>
  JSON.parse(/id="data">(.*?)<\/script>/s.exec(readFileSync(path, "utf8"))?.[1] ?? "");

test("the page is one file that loads nothing, with the plan and its runs", () => {
  const html = readFileSync(pages.two, "utf8");
  expect(html).not.toMatch(/\{\{|\bsrc=|<link|@import|^import /m);
  expect(html).toContain("default-src 'none'");
  const data = dataOf(pages.two);
  expect(data).toMatchObject({ format: "mpk-view", sms: 6 });
  const [predicted, measured] = data.runs;
  expect(predicted).toMatchObject({ kind: "predicted", label: "predicted" });
  expect(predicted.series.read).toMatch(/^f32:/);
  expect(measured).toMatchObject({ kind: "measured", series: null });
  expect(measured.stepNanos).toBeGreaterThan(predicted.stepNanos);
  for (const op of data.ops) if (op.layer !== null) expect(data.program[op.line]).toContain(op.kind);
});

test("no name in a file ends the page's script", async () => {
  const config = join(dir, "<!--<script>.json");
  writeFileSync(config, readFileSync(pages.model));
  const out = join(dir, "hostile.html");
  const ran = await mpk(["view", config, "--machine", pages.machine, "--context", "9", "--out", out]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(readFileSync(out, "utf8")).not.toContain("<!--<script>");
  expect(dataOf(out).model).toBe("<!--<script>.json");
});

test("bad profiles are told, with the file and what to give instead", async () => {
  const text = readFileSync(pages.profile, "utf8");
  const given = (name: string, contents: string): string => {
    writeFileSync(join(dir, name), contents);
    return join(dir, name);
  };
  const changed = (change: object): string => JSON.stringify({ ...JSON.parse(text), ...change });
  const { steps: [step] } = JSON.parse(text);
  step.sms[2].instructions[1].ready = "soon";
  for (const [path, message] of [
    [given("foreign.json", `{"name":"left-pad"}`), /foreign\.json: format: expected "mpk-profile"/],
    [given("cut.json", text.slice(0, text.length / 2)), /cut\.json: not JSON.*\n {2}fix: .*ends too early/],
    [given("empty.json", ""), /empty\.json: not JSON/],
    [given("old.json", changed({ version: 7 })), /old\.json: version: expected 1/],
    [given("none.json", changed({ steps: [] })), /none\.json: steps: expected at least one step/],
    [given("soon.json", changed({ steps: [step] })),
      /soon\.json: steps\.0\.sms\.2\.instructions\.1\.ready: expected a number/],
    [join(pages.folder, "slow.json"), /slow\.json: is a Chrome trace, which has no marks\n {2}fix: .*beside/],
    [pages.other, /other\.profile\.json: is of another model or plan: .*\n {2}fix: give the model that was/],
    [join(dir, "absent.json"), /absent\.json/],
  ] as const) {
    const ran = await mpk(["view", pages.model, "--profile", path, "--out", join(dir, "no.html")]);
    expect(ran.err).toMatch(message);
    expect(ran.code).toBe(2);
  }
  const late = await mpk(["view", pages.model, "--profile", pages.profile, "--step", "9"]);
  expect(late.err).toMatch(/has 1 steps, no step 8\n {2}fix: give a smaller --step/);
});
