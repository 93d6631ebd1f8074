/** @file How steps of two to eight tokens hand over what linears multiply by. */
import type { ValueId } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import { machines, plan, type PlanOptions } from "@mpk/schedule";
import { describe, expect, test } from "vitest";
import { programOf, realConfigs } from "./emitted/configs.ts";
import { emitReal } from "./emitted/decoders.ts";
import { head, linear, linears, type Writer, writer } from "./emitted/programs.ts";

const flags = { protocol: "flag" } as const;
const source = (program: ReturnType<typeof programOf>, options: PlanOptions = flags): string =>
  emitReal(plan(program, scheduleTable, machines.h200, options), "sm_90a").source;

type Found = readonly [op: string, found: boolean];
/** Of each body of this text, by the op in the comment before it, whether a pattern is in it. */
function bodiesWith(text: string, pattern: RegExp): readonly Found[] {
  const parts = text.slice(text.indexOf("// ---- task bodies")).split(/^\/\/ (?=\w+, first at )/m).slice(1);
  return parts.map((part) =>
    [part.slice(0, part.indexOf(",")), pattern.test(part.slice(0, part.indexOf("\n};")))]);
}
const ops = (text: string, pattern: RegExp): string =>
  bodiesWith(text, pattern).filter(([, found]) => found).map(([op]) => op).join();

describe("a residual stream", () => {
  const qwen = programOf(realConfigs["Qwen3-0.6B"]);

  test("is in two terms: linears multiply by the first and add up both", () => {
    const text = source(qwen);
    // q, k, v; o; gate, up; down; lm_head.
    expect(bodiesWith(text, /kK = /).filter(([op, found]) => op === "linear" && found)).toHaveLength(5);
    expect(ops(text, /kOutTerms = true/)).toBe("embedding,linear,linear");
    expect(ops(text, /load_terms\(/)).toBe("linear,linear");
    expect(ops(text, /typedef u16 FewX/)).toBe("linear,linear,linear,linear,linear");
  });

  test("is float32 where one token has no flags, or steps have more tokens than a few", () => {
    expect(source(qwen, { protocol: "counter" })).not.toMatch(/kOutTerms = true/);
    expect(source(programOf(realConfigs["Qwen3-0.6B"], 16))).not.toMatch(/kOutTerms = true/);
    expect(source(programOf(realConfigs["Qwen3-0.6B"], 1))).not.toMatch(/kOutTerms = true/);
  });

  test("is float32 where an op other than a linear reads it, or the program gives it", () => {
    const terms = (use: (w: Writer, y: ValueId) => void): boolean => {
      const w = writer("read", { maxTokens: 8, maxContext: 64 });
      const y = linear(w, "first", w.embed(300, 64), 64, { norm: "rms" });
      use(w, y);
      const text = source(head(w, linear(w, "second", y, 64), 40));
      return ops(text, /kOutTerms = true/).split(",").length === 3;
    };
    expect(terms(() => {})).toBe(true);
    expect(terms((w, y) => w.b.output("doubled", w.map("a0 * 2", [y])))).toBe(false);
    expect(terms((w, y) => w.b.output("y", y))).toBe(false);
  });
});

test("rows of x are taken 16 bytes at a time where all of them start so", () => {
  const text = source(linears(8, 92));
  const said = text.matchAll(/kK = (\d+)[^]*?kWholeX = (\w+)/g);
  const rows = Array.from(said, ([, k, whole]) => [Number(k), whole] as const);
  expect(new Set(rows.map(([k]) => k))).toEqual(new Set([92, 80, 37, 21]));
  expect(rows.filter(([k, whole]) => (k % 8 === 0) !== (whole === "true"))).toEqual([]);
});
