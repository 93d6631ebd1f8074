/** @file mpk bench, profile and tune where there is no GPU: what can be drawn, and what is refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { mpk } from "./io.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-bench-cli-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const page = new URL("../../../docs/performance.results.json", import.meta.url).pathname;

describe("bench", () => {
  test("without a GPU there are no times: exit code 3 and a sentence", async () => {
    for (const args of [["bench"], ["profile"], ["tune"], ["repeat"]].map((each) => [...each, "qwen3-8b"])) {
      const ran = await mpk(args);
      expect(ran).toMatchObject({ code: 3, out: "" });
      expect(ran.err).toMatch(/^error: nothing can be timed here.*\n {2}fix: .*GPU/);
    }
  });

  test("a model that is none is named before anything is measured", async () => {
    const ran = await mpk(["bench", "--shapes", "qwen3-8b,qwen3-9b"]);
    expect(ran).toMatchObject({ code: 2, out: "" });
    expect(ran.err).toMatch(/qwen3-9b: no such file.*\n.*one of llama-3.2-1b, /);
    expect(await mpk(["bench"])).toMatchObject({ code: 2 });
    expect((await mpk(["bench", "x", "--context", "1,b"])).err).toContain("whole number from 0");
  });

  test("stored results are told, drawn, and put into a page", async () => {
    const told = await mpk(["bench", page]);
    expect(told).toMatchObject({ code: 0, err: "" });
    const stored = JSON.parse(readFileSync(page, "utf8")).results;
    const { model, ms, torch } = stored[0];
    expect(told.out).toContain(`per token: p50 ${ms.p50.toFixed(3)} ms`);
    const [svg, md] = [join(dir, "c.svg"), join(dir, "p.md")];
    writeFileSync(md, "# x\n<!-- begin results -->\n<!-- end results -->\n");
    const ran = await mpk(["bench", page, "--chart", svg, "--page", md]);
    expect(ran).toMatchObject({ code: 0, out: "", err: `wrote ${svg}\nwrote ${md}\n` });
    expect(readFileSync(svg, "utf8")).toMatch(
      new RegExp(`^<svg [^]*PyTorch ${torch.msPerToken?.toFixed(3) ?? ""}`),
    );
    expect(readFileSync(md, "utf8")).toMatch(
      new RegExp(`\\| ${model} .*\\| \\*\\*${ms.p50.toFixed(3)}\\*\\* \\|`),
    );
    const json = JSON.parse((await mpk(["bench", page, "--json"])).out);
    expect(json.results).toHaveLength(stored.length);
  });

  test("files that cannot be drawn are refused by name", async () => {
    const bad = join(dir, "bad.json");
    writeFileSync(bad, '{"format": "mpk-bench", "version": 1, "results": [{}]}');
    const ran = await mpk(["bench", bad]);
    expect(ran.code).toBe(2);
    expect(ran.err).toContain("bad.json: results[0].model is undefined");
    const mixed = await mpk(["bench", page, "qwen3-8b"]);
    expect(mixed.err).toContain("holds results, qwen3-8b is to be measured");
    const other = join(dir, "other.json");
    writeFileSync(other, readFileSync(page, "utf8").replaceAll("NVIDIA H200", "NVIDIA H100"));
    expect((await mpk(["bench", page, other])).err).toContain("do not belong in one picture");
    const nowhere = await mpk(["bench", page, "--chart", join(dir, "no", "c.svg")]);
    expect(nowhere).toMatchObject({ code: 2 });
    expect(nowhere.err).toContain("cannot write");
  });
});
