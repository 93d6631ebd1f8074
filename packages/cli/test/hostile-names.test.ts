/** @file Names from a checkpoint or a saved plan are text in what is emitted, never code or markup. */
import { viewPlan } from "@mpk/compiler";
import { emit, emitLauncher } from "@mpk/cuda";
import { printProgram, runPasses, type Program } from "@mpk/ir";
import { buildModel, readConfig } from "@mpk/models";
import { bodyTable, scheduleTable, semanticsTable } from "@mpk/ops";
import { loadPlan, plan, savePlan, virtual, type Plan } from "@mpk/schedule";
import fc from "fast-check";
import { expect, test } from "vitest";
import { tinyConfig } from "../../compiler/test/checkpoint.ts";
import { planPage } from "../src/html.ts";

const config = readConfig({ ...tinyConfig, num_hidden_layers: 1, vocab_size: 40 });
const good = plan(
  runPasses(buildModel(config, { maxTokens: 2, maxContext: 16 }), semanticsTable),
  scheduleTable,
  virtual(2),
);

/** Names that would end a comment, a string, a line, a template or a script element. */
const evil = fc.oneof(
  fc.constantFrom(
    "*/ int x; /*", "\n#include </etc/passwd>\n", "\\\n", 'a"; system("id"); //', "??/\nint x;",
    "{{ 7 * 7 }}", "{% for i in x %}", "{# c #}", "</script><script>alert(1)</script>", "-->", "]]>",
    "<img src=x onerror=alert(1)>", "&lt;", "\u2028int x;", "\u2029", "$&$1$`", "BodyName", "//", "'",
    "\r\nint x;", "R\"(", "trailing\\", "__proto__", "\u202e", "0", "",
  ),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({
    unit: fc.constantFrom("*", "/", "\\", "\n", '"', "<", ">", "{", "%", "a"), maxLength: 12,
  }),
);

/** The plan with every name that is not ours to choose replaced. */
function renamed(names: readonly string[]): Plan {
  let next = 0;
  const name = (): string => names[next++ % names.length] ?? "";
  const { program } = good;
  const evilProgram: Program = {
    ...program,
    name: name(),
    // The colon keeps them apart: 1 with a name of 0 is not 10 with none.
    values: program.values.map((value) => ({ ...value, name: `${value.id}:${name()}` })),
    weights: program.weights.map((weight) => ({
      ...weight,
      // The C API has no zero characters: such a name is refused.
      parts: weight.parts.map((part) => ({ ...part, tensor: name().replaceAll("\0", "0") })),
    })),
    ops: program.ops.map((op) => ({
      ...op, scope: name(), site: op.site === null ? null : { ...op.site, file: name() },
    })),
  };
  return { ...good, program: evilProgram };
}

const harmless = renamed(["n"]);
const sourceOf = (of: Plan): string =>
  emit(of, scheduleTable, bodyTable, { target: "sm_90a" }).source;
const launcherOf = (of: Plan) =>
  emitLauncher(emit(of, scheduleTable, bodyTable, { target: "sm_90a" }).manifest);
const manyNames = fc.array(evil, { minLength: 1, maxLength: 9 });

/** C++ without its comments and the insides of its strings. */
const bare = (text: string): string =>
  text.replaceAll(/"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*|\/\*[^]*?\*\//g, (found) =>
    found.startsWith('"') ? '""' : "//",
  );

test("the kernel is the same but for its comments, which are plain words", () => {
  const expected = bare(sourceOf(harmless));
  fc.assert(
    fc.property(manyNames, (names) => {
      const source = sourceOf(renamed(names));
      expect(bare(source)).toBe(expected);
      const [title = "", ...rest] = source.split("\n");
      const comments = rest.filter((line) => /^\/\/ .*, first at /.test(line));
      for (const comment of [title, ...comments]) expect(comment).toMatch(/^\/\/ [\w ,.-]*$/);
    }),
    { numRuns: 60 },
  );
});

test("the launcher is the same but for its strings and comments", () => {
  const expected = launcherOf(harmless);
  fc.assert(
    fc.property(manyNames, (names) => {
      const files = launcherOf(renamed(names));
      for (const [name, text] of Object.entries(files)) {
        expect(bare(text)).toBe(bare(expected[name as keyof typeof expected]));
        // Only plain characters come in by a name, and no line ends in a backslash by one.
        if (/^mpk_model|^example/.test(name)) expect(text).toMatch(/^[\n -~]*$/);
      }
    }),
    { numRuns: 60 },
  );
});

test("the page is the same but for its text; its data are the view", () => {
  const pageOf = (of: Plan): string => planPage(viewPlan(of), printProgram(of.program));
  const tagsOf = (page: string): readonly string[] => page.match(/<[^>]*>/g) ?? [];
  const expected = tagsOf(pageOf(harmless));
  fc.assert(
    fc.property(manyNames, (names) => {
      const evilPlan = renamed(names);
      const page = pageOf(evilPlan);
      expect(tagsOf(page)).toEqual(expected);
      const data = /id="data">([^<]*)<\/script>/.exec(page)?.[1] ?? "";
      expect(JSON.parse(data).ops).toEqual(viewPlan(evilPlan).ops);
    }),
    { numRuns: 60 },
  );
});

test("a saved plan keeps such names, letter by letter", () => {
  fc.assert(
    fc.property(manyNames, (names) => {
      const evilPlan = renamed(names);
      expect(loadPlan(savePlan(evilPlan)).program).toEqual(evilPlan.program);
    }),
    { numRuns: 60 },
  );
});
