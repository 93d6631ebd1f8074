/** @file The CI script: its last line is the sum of its runs, and it fails where one of them does. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const dir = mkdtempSync(join(tmpdir(), "mpk-ci-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Stands in for npx: says and gives what the variable named after the script says. */
writeFileSync(join(dir, "npx"), `#!/bin/bash
case "$3" in
  test) says="$FAKE_TEST";;
  test:emulated) says='0:0 passed, 0 failed, 0 skipped\\n';;
  test:long) says="$FAKE_LONG";;
  *) exit 9;;
esac
printf '%b' "\${says#*:}"
exit "\${says%%:*}"
`);
chmodSync(join(dir, "npx"), 0o755);

function ci(short: string, long: string) {
  const env = {
    ...process.env, PATH: `${dir}:${process.env["PATH"]}`, FAKE_TEST: short, FAKE_LONG: long,
  };
  const script = join(import.meta.dirname, "..", ".ci", "run");
  const ran = spawnSync("bash", [script], { env, encoding: "utf8" });
  return { status: ran.status, last: ran.stdout.trimEnd().split("\n").at(-1) };
}

test.each([
  ["both pass", "0:x\n3 passed, 0 failed, 1 skipped\n", "0:1 passed, 0 failed, 2 skipped\n",
    0, "4 passed, 0 failed, 3 skipped"],
  ["tests fail", "1:3 passed, 2 failed, 0 skipped\n", "0:1 passed, 0 failed, 0 skipped\n",
    1, "4 passed, 2 failed, 0 skipped"],
  ["one fails without a failed test", "0:3 passed, 0 failed, 0 skipped\n",
    "1:0 passed, 0 failed, 6 skipped\n", 1, "3 passed, 0 failed, 6 skipped"],
  ["one crashes", "0:3 passed, 0 failed, 0 skipped\n", "139:Segmentation fault\n",
    1, "3 passed, 1 failed, 0 skipped"],
  ["a line that only looks like it comes first", "0:9 passed, 9 failed, 9 skipped\nx\n" +
    "1 passed, 0 failed, 0 skipped\nmore\n", "0:0 passed, 0 failed, 0 skipped\n",
    0, "1 passed, 0 failed, 0 skipped"],
])("%s", (_, short, long, status, last) => {
  expect(ci(short, long)).toEqual({ status, last });
});
