/** @file Python beside a kernel: what is missing is said, and one part that fails costs no other. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  findPython, measureBesides, notMeasured, settingOf, type BenchResult, type BesideJob,
} from "../../src/bench/index.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-beside-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A Python that only knows `body`, a shell's. */
const python = (body: string): string => {
  const file = join(dir, "python3");
  writeFileSync(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return file;
};
const env = { PATH: "/usr/bin:/bin" };
const no = notMeasured("not yet");
const run = { prompt: [1], tokens: [2], logits: "/x/logits.f32" };
const model = "llama-3.2-1b";
const both = settingOf({ model, seed: 7n, wantsTorch: true, wantsFidelity: true });

const jobOf = (setting = both, change: Partial<BenchResult> = {}): BesideJob => ({
  setting, run,
  result: {
    model: setting.model, context: setting.context, tokensPerStep: setting.tokensPerStep,
    weightBytes: 2e9, cacheBytes: 1, limitBytesPerSecond: 1, probeBytesPerSecond: null, floorMs: 1,
    eventMs: null, firstTokenMs: null, promptStep: null, reruns: 1, rerunsEqual: 1, pending: true,
    ms: { p50: 1, p99: null, worst: null, fastest: null, count: null }, fidelity: no, torch: no,
    seconds: { open: 1 }, ...change,
  },
});

async function measure(command: string, jobs: readonly BesideJob[] = [jobOf()], seconds = 30) {
  const results: BenchResult[] = [];
  await measureBesides(jobs, {
    env: { ...env, MPK_PYTHON: command }, scratch: dir, mostSeconds: () => seconds,
    onResult: (result) => void results.push(result),
  });
  return results;
}

const gives = (...lines: string[]): string =>
  `[ "$1" = -c ] && exit 0; read line; echo "$line" >> ${dir}/seen\n` +
  lines.map((line) => `echo '${line}'`).join("\n");
const gate = '{"fidelity":{"ratio":0.5,"wrong":1,"mustAgree":9,"passed":false,"ours":0.01},' +
  '"seconds":{"fidelity":2}}';
const times = '{"torch":{"msPerToken":1.5,"torch":"2.9"}}';

test("what is missing is said exactly", async () => {
  const none = await findPython({ ...env, MPK_PYTHON: "/nowhere/python3" });
  expect(none).toMatchObject({ notMeasured: expect.stringContaining("/nowhere/python3 cannot run") });
  const bare = python('[ "$1" = -c ] && echo torch transformers');
  const told = { notMeasured: `${bare} lacks torch, transformers: pip install them` };
  expect(await measure(bare)).toMatchObject([{ torch: told, fidelity: told }]);
  const nowhere = await findPython(env, join(dir, "no-scripts"));
  expect(nowhere).toMatchObject({ notMeasured: expect.stringContaining("no-scripts is missing") });
});

test("the script is told all it needs; a result that has its answer is pending no more", async () => {
  const [found] = await measure(python(gives("a warning", gate, times)));
  expect(found).toMatchObject({
    torch: { msPerToken: 1.5, torch: "2.9" }, seconds: { open: 1, "torch fidelity": 2 },
    fidelity: { ratio: 0.5, wrong: 1, mustAgree: 9, passed: false, error: 0.01 },
  });
  expect(found).not.toHaveProperty("pending");
  const seen = JSON.parse(readFileSync(join(dir, "seen"), "utf8"));
  expect(seen).toMatchObject({
    checkpoint: null, seed: "7", context: 64, torch: true, run, scratch: dir, config: { hidden_size: 2048 },
  });
});

test("a part that fails says why; what was told before stays", async () => {
  const [dying] = await measure(python(`${gives(gate)}\necho "CUDA out of memory" >&2; exit 3`));
  expect(dying?.fidelity).toMatchObject({ ratio: 0.5 });
  expect(dying?.torch).toEqual(notMeasured("beside.py failed: CUDA out of memory"));
  const telling = python(gives('{"fidelity":"fidelity.py failed: x","torch":"PyTorch sees no GPU"}'));
  expect(await measure(telling)).toMatchObject([{
    fidelity: notMeasured("fidelity.py failed: x"), torch: notMeasured("PyTorch sees no GPU"),
  }]);
  const [killed] = await measure(python(`${gives()}\nkill -9 $$`));
  expect(killed?.torch).toEqual(notMeasured("beside.py failed: ended by SIGKILL"));
  expect(killed).not.toHaveProperty("pending");
  // With more time there may be an answer: it stays pending, with what was told.
  const slow = python(`${gives(gate)}\nexec sleep 60`);
  expect(await measure(slow, [jobOf()], 5.2)).toMatchObject([{ pending: true, fidelity: { ratio: 0.5 } }]);
});

test("what has no counterpart is not asked for", async () => {
  const good = python(gives(gate, times));
  const many = settingOf({ ...both, tokensPerStep: 8 });
  const why = notMeasured("only steps of one token have a counterpart");
  const [steps] = await measure(good, [jobOf(many, { torch: why })]);
  expect(steps).toMatchObject({ torch: why, fidelity: { ratio: 0.5 } });
  const rows = settingOf({ ...both, context: 4096, reads: "random" });
  const [random] = await measure(good, [jobOf(rows, { fidelity: notMeasured("random rows") })]);
  expect(random).toMatchObject({ torch: { msPerToken: 1.5 }, fidelity: notMeasured("random rows") });
  expect(await measure(good, [jobOf(both, { pending: undefined as never })])).toEqual([]);
});

test("many run at once, but no more than memory holds; without time they stay pending", async () => {
  const log = join(dir, "log");
  const slow = python(
    `[ "$1" = -c ] && exit 0; read line; echo + >> ${log}; sleep 0.3; echo - >> ${log}; echo '${times}'`,
  );
  const most = async (jobs: readonly BesideJob[]) => {
    writeFileSync(log, "");
    expect(await measure(slow, jobs)).toHaveLength(jobs.length);
    let [now, top] = [0, 0];
    for (const line of readFileSync(log, "utf8").trim().split("\n")) {
      now += line === "+" ? 1 : -1;
      top = Math.max(top, now);
    }
    return top;
  };
  const [small, large] = [jobOf(), jobOf(both, { weightBytes: 70e9 })];
  expect(await most([small, small, small])).toBe(3);
  expect(await most([large, large])).toBe(1);
  expect(await most([large, large, small])).toBe(2);
  expect(await measure(slow, [small], 1)).toEqual([]);
});
