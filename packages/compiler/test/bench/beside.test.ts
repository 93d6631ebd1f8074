/** @file Python beside a kernel: what is missing is said, and one part that fails costs no other. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { besideOf, findPython, notMeasured, type BesideRequest } from "../../src/bench/index.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-beside-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A Python that only knows `body`, a shell's. */
const python = (body: string): string => {
  const file = join(dir, "python3");
  writeFileSync(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return file;
};
const env = { PATH: "/usr/bin:/bin" };
const request: BesideRequest = {
  config: { a: 1 }, checkpoint: null, seed: 7n, context: 64, tokensPerStep: 1,
  run: { prompt: [1], tokens: [2], logits: [Float32Array.of(1, 2)] },
};
const both = { wantsTorch: true, wantsFidelity: true };

async function measure(wanted: typeof both, command: string, change: Partial<BesideRequest> = {}) {
  const beside = besideOf(wanted, { ...env, MPK_PYTHON: command });
  try {
    return await beside.measure({ ...request, ...change });
  } finally {
    beside.close();
  }
}

const gives = (...lines: string[]): string =>
  `[ "$1" = -c ] && exit 0; read line; echo "$line" > ${dir}/seen\n` +
  lines.map((line) => `echo '${line}'`).join("\n");
const gate = '{"fidelity":{"ratio":0.5,"wrong":1,"mustAgree":9,"passed":false},"seconds":{"fidelity":2}}';

test("what is missing is said exactly", async () => {
  const none = await findPython({ ...env, MPK_PYTHON: "/nowhere/python3" });
  expect(none).toMatchObject({ notMeasured: expect.stringContaining("/nowhere/python3 cannot run") });
  const bare = python('[ "$1" = -c ] && echo torch transformers');
  const told = { notMeasured: `${bare} lacks torch, transformers: pip install them` };
  expect(await measure(both, bare)).toMatchObject({ torch: told, fidelity: told });
  const nowhere = await findPython(env, join(dir, "no-scripts"));
  expect(nowhere).toMatchObject({ notMeasured: expect.stringContaining("no-scripts is missing") });
  const unasked = await measure({ wantsTorch: false, wantsFidelity: false }, "/nowhere/python3");
  expect(unasked.torch).toEqual(notMeasured("not asked for: add --baseline torch"));
});

test("it is asked once for all, with the logits in a file", async () => {
  const good = python(gives("a warning", gate, '{"torch":{"msPerToken":1.5,"torch":"2.9"}}'));
  expect(await measure(both, good)).toEqual({
    torch: { msPerToken: 1.5, torch: "2.9" }, seconds: { "torch fidelity": 2 },
    fidelity: { ratio: 0.5, wrong: 1, mustAgree: 9, passed: false },
  });
  const seen = JSON.parse(readFileSync(join(dir, "seen"), "utf8"));
  expect(seen).toMatchObject({
    config: { a: 1 }, checkpoint: null, seed: "7", context: 64, torch: true,
    run: { prompt: [1], tokens: [2], logits: expect.stringMatching(/logits\.f32$/) },
  });
});

test("a part that fails says why; what was told before stays", async () => {
  const dying = python(`${gives(gate)}\necho "CUDA out of memory" >&2; exit 3`);
  const found = await measure(both, dying);
  expect(found.fidelity).toMatchObject({ ratio: 0.5 });
  expect(found.torch).toEqual(notMeasured("beside.py failed: CUDA out of memory"));
  const telling = python(gives('{"fidelity":"fidelity.py failed: x","torch":"PyTorch sees no GPU"}'));
  expect(await measure(both, telling)).toMatchObject({
    fidelity: notMeasured("fidelity.py failed: x"), torch: notMeasured("PyTorch sees no GPU"),
  });
  const killed = await measure(both, python(`${gives()}\nkill -9 $$`));
  expect(killed.torch).toEqual(notMeasured("beside.py failed: ended by SIGKILL"));
});

test("what has no counterpart is not asked for", async () => {
  const random = notMeasured("random rows");
  const good = python(gives(gate));
  const many = await measure(both, good, { tokensPerStep: 8 });
  expect(many.torch).toEqual(notMeasured("only steps of one token have a counterpart"));
  expect(many.fidelity).toMatchObject({ ratio: 0.5 });
  const rows = await measure(both, good, { run: random });
  expect(rows.fidelity).toEqual(random);
  const neither = await measure(both, good, { tokensPerStep: 8, run: random });
  expect(neither).toMatchObject({ torch: many.torch, fidelity: random });
});
