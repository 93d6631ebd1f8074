/** @file mpk simulate: what it prints, writes and refuses. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { tinyConfig } from "../../compiler/test/checkpoint.ts";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-simulate-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const config = join(dir, "config.json");
writeFileSync(config, JSON.stringify(tinyConfig));
const machine = join(dir, "machine.json");

test("simulate predicts a step, answers questions and says what its numbers rest on", async () => {
  expect(await mpk(["simulate", config, "--write-machine", machine])).toMatchObject({ code: 0 });
  const small = JSON.parse(readFileSync(machine, "utf8"));
  small.machine.sms = 5;
  writeFileSync(machine, JSON.stringify(small));
  const args = ["simulate", config, "--machine", machine, "--context", "9"];
  const text = await mpk([...args, "--what-if", "no-hand-offs", "--what-if", "sms=x2", "--accounts"]);
  expect(text).toMatchObject({ code: 0, err: "" });
  expect(text.out).toMatch(/on h200, 5 SMs, 9 tokens before the step\nconstants measured: /);
  expect(text.out).toMatch(/predicted 0\.\d+ ms a step, [\d.]+ % of the read limit/);
  expect(text.out).toMatch(/as planned +[\d.]+ .*\n +no-hand-offs +[\d.]+ +-[\d.]+ % .*seen at once/);
  expect(text.out).toContain("by layer, µs");
  const json = JSON.parse((await mpk([...args, "--what-if", "all", "--json"])).out);
  expect(json).toMatchObject({ sms: 5, context: 9, machine: { name: "h200", source: "measured" } });
  expect(json.whatIf).toHaveLength(10);
  expect(json.stepMs).toBeGreaterThan(json.floorMs);
});

test("plans of short contexts are simulated as far as they go, saved ones with what they can answer", async () => {
  const context = async (...args: string[]) => {
    const { out, err } = await mpk([...args, "--json"]);
    expect(err).toBe("");
    return JSON.parse(out).context;
  };
  const plan = join(dir, "plan.json");
  const compiled = await mpk([
    "compile", config, "--out", join(dir, "out"), "--max-context", "20", "--save-plan", plan,
  ]);
  expect(compiled.code).toBe(0);
  expect(await context("simulate", config)).toBe(63);
  expect(await context("explain", config)).toBe(63);
  expect(await context("simulate", plan)).toBe(19);
  expect((await mpk(["view", plan, "--out", join(dir, "view.html")])).code).toBe(0);
  const asked = JSON.parse((await mpk(["simulate", plan, "--what-if", "all", "--json"])).out).whatIf;
  expect(asked.map(({ name }: { name: string }) => name)).toEqual(["no-hand-offs", "no-work"]);
  const planned = await mpk(["simulate", plan, "--what-if", "bandwidth=x2"]);
  expect(planned.code).toBe(2);
  expect(planned.err).toMatch(/bandwidth=x2: .*is planned already.*\n {2}fix: .*no-hand-offs, no-work/);
  expect((await mpk(["explain", plan])).out).toMatch(/none: the plan is saved/);
  const beyond = await mpk(["simulate", plan, "--context", "20"]);
  expect(beyond.code).toBe(2);
  expect(beyond.err).toMatch(/20 tokens before the step.*sequences of 20.*\n {2}fix: .*--context/);
});

test("simulate --out writes what profile writes, and says that it was simulated", async () => {
  const trace = join(dir, "trace.json");
  const ran = await mpk(["simulate", config, "--machine", machine, "--context", "9", "--out", trace]);
  expect(ran).toMatchObject({ code: 0 });
  expect(JSON.parse(readFileSync(trace, "utf8")).traceEvents.length).toBeGreaterThan(100);
  const marks = JSON.parse(readFileSync(join(dir, "trace.profile.json"), "utf8"));
  expect(marks).toMatchObject({ format: "mpk-profile", simulated: { machine: "h200" } });
  expect(marks.steps).toHaveLength(1);
});

test("calibrate needs a GPU, and says so", async () => {
  const ran = await mpk(["calibrate", "--out", join(dir, "gpu.json")]);
  expect(ran.code).toBe(3);
  expect(ran.err).toMatch(/^error: .*\n {2}fix: /);
  expect((await mpk(["calibrate", "--help"])).out).toMatch(/Examples:\n {2}\$ mpk calibrate\n/);
});

test.each([
  [["nowhere"], /no such file .*shape known.*\n {2}fix: name a checkpoint folder/],
  [[config, "--machine", "z80"], /--machine z80: no such machine.*\n {2}fix: .*h200/],
  [[config, "--machine", config], /machine\.format: expected "mpk-machine", got nothing/],
  [[config, "--what-if", "magic"], /--what-if magic: no such question\n {2}fix: ask sms=N/],
  [[config, "--what-if", "ring=some"], /no such question\n {2}fix: write ring=STAGES/],
  [[config, "--context", "9", "--what-if", "ring=3"], /ring options/],
  [[config, "--context", "0"], /whole number from 1/],
  [[config, "--context", "64"], /a context of 65 was asked for/],
])("simulate %s is bad input", async (args, message) => {
  const ran = await mpk(["simulate", ...args]);
  expect(ran.code).toBe(2);
  expect(ran.err).toMatch(message);
});
