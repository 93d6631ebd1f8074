/** @file compile, verify, inspect, doctor and help: what they print and write. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { tinyConfig } from "../../compiler/test/checkpoint.ts";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-commands-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const config = join(dir, "config.json");
writeFileSync(config, JSON.stringify(tinyConfig));

test("compile writes source, manifest and plan, and reports what the plan costs", async () => {
  const [out, plan] = [join(dir, "out"), join(dir, "saved.json")];
  const args = ["compile", config, "--sms", "7", "--out", out, "--save-plan", plan];
  const ran = await mpk([...args, "--json"]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  const report = JSON.parse(ran.out);
  expect(report).toMatchObject({ model: "llama", target: "sm_90a", sms: 7, maxContext: 64 });
  expect(report.events).toBeLessThan(report.eventsBeforeFusion);
  expect(report.handOffsPerStep).toBeGreaterThan(2 * 2);
  // Every projection once, rows and columns padded to whole tiles and K blocks.
  const weights = 2 * (2 * (64 * 32 + 32 * 32 + 96 * 32 + 32 * 64) + 272 * 32);
  expect(report.streamedBytesPerStep).toBe(weights);
  expect(report.floorMicros).toBeCloseTo((weights / 4.6e12) * 1e6, 6);
  const manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8"));
  expect(manifest).toMatchObject({ format: "mpk-manifest", launch: { blocks: 7 } });
  expect(readFileSync(join(out, "kernel.cu"), "utf8")).toContain("mpk_decode");
  for (const name of ["mpk.h", "mpk_launcher.cpp", "mpk_model.h"]) {
    expect(report.files).toContain(join(out, name));
  }

  const text = await mpk(args);
  expect(text.out).toMatch(/hand-offs per step +\d+/);
  expect(text.out).toMatch(/shared memory +[\d,]+ of [\d,]+ bytes/);
  expect(text.out).toContain(`wrote ${plan}`);

  const verified = await mpk(["verify", plan]);
  expect(verified).toMatchObject({ code: 0, err: "" });
  expect(verified.out).toMatch(/on 7 SMs.*\n(law \d {2}holds .*\d.*\n){7}all laws hold/);
});

test("verify proves GPUs side by side, and refuses what cannot be shared", async () => {
  const ran = await mpk(["verify", config, "--sms", "3", "--ranks", "2"]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(ran.out).toMatch(/on 6 SMs.*\n(law \d {2}holds .*\n){7}all laws hold/);
  expect(ran.out).toMatch(/law 6 .* triggers to other ranks/);
  const refused = await mpk(["verify", config, "--ranks", "7"]);
  expect(refused.code).toBe(2);
  expect(refused.err).toMatch(/shard: .*\n +fix: take a number of ranks that divides/);
});

test("verify exits with 1 on a broken plan and shows the smallest schedule", async () => {
  const file = join(dir, "broken.json");
  await mpk(["compile", config, "--sms", "4", "--out", join(dir, "o"), "--save-plan", file]);
  const plan = JSON.parse(readFileSync(file, "utf8"));
  plan.events.threshold[0]++;
  writeFileSync(file, JSON.stringify(plan));
  const ran = await mpk(["verify", file]);
  expect(ran.code).toBe(1);
  expect(ran.out).toMatch(/law \d {2}VIOLATED/);
  expect(ran.out).toMatch(/smallest violating schedule:\n {2}SM \d+: task \d+/);
  const json = JSON.parse((await mpk(["verify", file, "--json"])).out);
  expect(json.ok).toBe(false);
});

test("verify saves a counterexample and replays it, on the broken plan and on the sound one", async () => {
  const [sound, broken, wrong] = ["sound.json", "torn.json", "wrong.json"].map((x) => join(dir, x));
  const [a = "", b = "", c = ""] = [sound, broken, wrong];
  await mpk(["compile", config, "--sms", "4", "--out", join(dir, "o"), "--save-plan", a]);
  const plan = JSON.parse(readFileSync(a, "utf8"));
  // The last task of SM 0 no longer waits for anything but the step.
  const task = plan.order.items[plan.order.start[1] - 1];
  const [from, to] = [plan.waits.start[task], plan.waits.start[task + 1]];
  plan.waits.items.splice(from, to - from);
  plan.waits.start = plan.waits.start.map((x: number, i: number) => (i > task ? x - (to - from) : x));
  writeFileSync(b, JSON.stringify(plan));

  const ran = await mpk(["verify", b, "--save-counterexample", c]);
  expect(ran.code).toBe(1);
  expect(ran.out).toContain(`wrote ${c}`);
  expect(JSON.parse(readFileSync(c, "utf8"))).toMatchObject({
    format: "mpk-counterexample", law: "races", claim: { kind: "race" },
  });
  const shown = await mpk(["verify", b, "--replay", c]);
  expect(shown.code).toBe(1);
  expect(shown.out).toMatch(/starts task \d+[^]*is not over: [^]*\nthe plan is WRONG: shown\n$/);
  const held = await mpk(["verify", a, "--replay", c]);
  expect(held.code).toBe(0);
  expect(held.out).toMatch(/cannot start task \d+: it waits for [^]*does not show this\n$/);
  const other = await mpk(["verify", config, "--sms", "3", "--replay", c]);
  expect(other.code).toBe(2);
  expect(other.err).toMatch(/on 4 SMs[^]*fix: give the plan that it was saved from/);
  const none = await mpk(["verify", a, "--replay", a]);
  expect(none.code).toBe(2);
  expect(none.err).toMatch(/counterexample\.format: expected "mpk-counterexample"/);
});

test("verify writes a small plan as a model for SPIN, and refuses a large one", async () => {
  const file = join(dir, "model.pml");
  const ran = await mpk(["verify", config, "--sms", "2", "--promela", file]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  const text = readFileSync(file, "utf8");
  expect(text).toMatch(/spin -a FILE/);
  expect(text).toMatch(/slot 0: SM 0, task \d+, \w+/);
  const large = await mpk(["verify", config, "--sms", "40", "--promela", file]);
  expect(large.code).toBe(2);
  expect(large.err).toMatch(/at most 8 SMs, got 40; .*--sms 3/);
});

test("inspect shows the Program and its plan, as text and as one page", async () => {
  const text = await mpk(["inspect", config, "--sms", "4", "--tasks"]);
  expect(text).toMatchObject({ code: 0, err: "" });
  expect(text.out).toContain("model.embed_tokens.weight");
  expect(text.out).toMatch(/linear +layers\.1\.mlp: \d+ tasks/);
  expect(text.out).toMatch(/SM 3: /);
  const page = join(dir, "plan.html");
  expect(await mpk(["inspect", config, "--sms", "4", "--html", page])).toMatchObject({ code: 0 });
  const html = readFileSync(page, "utf8");
  expect(html).not.toMatch(/\{\{|src=|href="http/);
  const data = JSON.parse(/id="data">(.*?)<\/script>/s.exec(html)?.[1] ?? "");
  expect(data).toMatchObject({ sms: 4 });
  expect(data.tasks.length).toBeGreaterThan(data.ops.length);
});

test("inspect --diff shows what two plans do differently", async () => {
  const [a, b] = ["3", "4"].map((sms) => join(dir, `plan-${sms}.json`));
  for (const [sms, file = ""] of [["3", a], ["4", b]] as const) {
    const args = ["--sms", sms, "--out", join(dir, "o"), "--save-plan", file];
    expect(await mpk(["compile", config, ...args])).toMatchObject({ code: 0 });
  }
  const other = await mpk(["inspect", a ?? "", "--diff", b ?? ""]);
  expect(other.out).toMatch(/machine: [^]*- sms: 3\n[^]*[+] sms: 4/);
  expect((await mpk(["inspect", a ?? "", "--diff", a ?? ""])).out).toBe("the plans are equal\n");
});

test("a public shape is compiled by its name", async () => {
  const ran = await mpk(["verify", "qwen3-0.6b", "--sms", "8", "--max-context", "64"]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(ran.out).toMatch(/on 8 SMs.* context up to 64\n(law \d {2}holds .*\n){7}all laws hold/);
});

test("doctor tells what is missing and what will be used", async () => {
  const ran = await mpk(["doctor"]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(ran.out).toMatch(/^ok +Node +v\d+/m);
  expect(ran.out).toMatch(/models run on /);
  const json = JSON.parse((await mpk(["doctor", "--json"])).out);
  expect(json.checks.map((check: { name: string }) => check.name)).toContain("NVRTC");
});

test("help says that a model.ts is code and is run", async () => {
  for (const command of ["compile", "verify", "inspect"]) {
    expect((await mpk([command, "--help"])).out).toMatch(/A model.ts is code: naming one runs it/);
  }
});

test("the version is the package's", async () => {
  const { version } = JSON.parse(
    readFileSync(join(import.meta.dirname, "..", "package.json"), "utf8"),
  ) as { version: string };
  expect(await mpk(["--version"])).toMatchObject({ code: 0, out: `${version}\n`, err: "" });
});

test("help has examples and the exit codes", async () => {
  const help = await mpk(["--help"]);
  expect(help.code).toBe(0);
  expect(help.out).toMatch(/Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}130 /);
  for (const command of ["run", "compile", "verify", "inspect", "bench", "profile", "tune", "repeat", "soak", "faults", "demo"]) {
    expect((await mpk([command, "--help"])).out).toMatch(/Examples:\n {2}\$ mpk /);
  }
});
