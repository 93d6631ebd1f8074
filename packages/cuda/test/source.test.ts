/** @file The emitted text as a whole: the same bytes every time, and names never become code. */
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Program } from "@mpk/ir";
import { machines, plan, virtual, type Plan } from "@mpk/schedule";
import { toyTable } from "@mpk/schedule/testing";
import { bodyTable, scheduleTable } from "@mpk/ops";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deviceText } from "../src/emit.ts";
import { emit, findTarget, targets } from "../src/index.ts";
import { decoderPlans, emitReal } from "./emitted/decoders.ts";
import { bodiesOf, tableOf } from "./emitted/source.ts";
import { everyOp, head, layered, linears, smallOps, writer } from "./emitted/programs.ts";
import { emitToy, toyBodies, toyPlans } from "./emitted/toy.ts";

const planOf = (program: Program, sms = 3): Plan =>
  plan(program, scheduleTable, virtual(sms));

/** The same data with every object's keys in another order. */
function reordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reordered);
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, reordered(item)] as const);
  return Object.fromEntries(entries.toReversed());
}

describe("emission is a function of the Plan", () => {
  test("twice the same Plan gives the same bytes", () => {
    fc.assert(
      fc.property(decoderPlans, (made) => {
        const [once, again] = [emitReal(made), emitReal(structuredClone(made))];
        expect(again.source).toBe(once.source);
        expect(JSON.stringify(again.manifest)).toBe(JSON.stringify(once.manifest));
      }),
      { numRuns: 30 },
    );
  });

  test("the order of keys says nothing", () => {
    fc.assert(
      fc.property(decoderPlans, (made) => {
        const [once, again] = [emitReal(made), emitReal(reordered(made) as Plan)];
        expect(again.source).toBe(once.source);
        expect(again.manifest).toEqual(once.manifest);
      }),
      { numRuns: 30 },
    );
  });

  test("nor does the folder it runs in", () => {
    const made = planOf(smallOps());
    const here = process.cwd();
    const once = emitReal(made).source;
    process.chdir(tmpdir());
    try {
      expect(emitReal(made).source).toBe(once);
    } finally {
      process.chdir(here);
    }
  });

  test("nothing is time, place or machine of the compiler", () => {
    const { source, manifest } = emitReal(planOf(linears()));
    for (const text of [source, JSON.stringify(manifest)]) {
      expect(text).not.toContain(import.meta.dirname.split("/packages/")[0]);
      expect(text).not.toContain(String(new Date().getFullYear()) + "-");
    }
  });
});

const nasty = fc.oneof(
  fc.string({ unit: "binary", minLength: 1, maxLength: 12 }),
  fc.constantFrom(
    "*/ int evil;", "a\n#include <x>", "a\r\nasm(\"trap;\");", "// \\", "ends with \\",
    "\u2028evil", "\"; evil(); //", "??/", "{{ evil }}", "{% evil %}", "R\"(evil)\"",
  ),
);

/** Every name that comes from a checkpoint or a user: replaced by one of `names` and a number. */
function renamed(program: Program, names: readonly string[]): Program {
  let count = 0;
  const name = (): string => `${names[count % names.length]}${count++}`;
  return {
    ...program,
    name: name(),
    values: program.values.map((value) => ({ ...value, name: name() })),
    weights: program.weights.map(({ value, parts }) => ({
      value, parts: parts.map(({ rows }) => ({ tensor: name(), rows })),
    })),
    ops: program.ops.map((op) => ({
      ...op, scope: name(), site: { file: name(), line: 1, column: 2 },
    })),
  };
}

const withoutComments = (source: string): string => source.replaceAll(/\/\/[^\n]*/g, "");

describe("names are data", () => {
  test("they change nothing but comments, and there leave only plain characters", () => {
    fc.assert(
      fc.property(fc.array(nasty, { minLength: 1, maxLength: 5 }), (names) => {
        const program = linears();
        const { source } = emitReal(planOf(renamed(program, names)));
        const plain = emitReal(planOf(program)).source;
        expect(withoutComments(source)).toBe(withoutComments(plain));
        // So a comment is a comment: nothing joins its line with the next, nothing ends it early.
        for (const line of source.split("\n")) {
          if (/first at |SMs$/.test(line)) expect(line).toMatch(/^\/\/ [\w.,() -]*$/);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("the Manifest keeps them as they are", () => {
    fc.assert(
      fc.property(fc.array(nasty, { minLength: 1, maxLength: 5 }), (names) => {
        const made = planOf(renamed(linears(), names));
        const { manifest } = emitReal(made);
        const { program } = made;
        expect(manifest.model).toBe(program.name);
        expect(manifest.ops.map(({ scope }) => scope)).toEqual(program.ops.map((op) => op.scope));
        expect(manifest.ops.map(({ site }) => site))
          .toEqual(program.ops.map((op) => `${op.site!.file}:1:2`));
        const tensors = [...manifest.resident, ...manifest.pack.flatMap(({ groups }) => groups)]
          .flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
        const known = new Set(program.weights.flatMap(({ parts }) => parts.map((p) => p.tensor)));
        expect(new Set(tensors)).toEqual(known);
      }),
      { numRuns: 30 },
    );
  });
});

/** The text of machine.cuh, wherever it lies in a source. */
const machineText = (): string => deviceText("machine.cuh").trim();

describe("the text needs nothing from outside", () => {
  test("it includes nothing, and only machine.cuh's part knows the machine", () => {
    for (const program of [smallOps(), linears()]) {
      const { source } = emitReal(planOf(program));
      expect(source).not.toMatch(/^\s*#\s*include/m);
      expect(source).toContain(machineText());
      const rest = withoutComments(source.replace(machineText(), ""));
      expect(rest).not.toMatch(/\basm\b|threadIdx|blockIdx|blockDim|gridDim|__syncthreads/);
      // Launch bounds, parameters and shared memory are declarations: they have no wrapper.
      const keywords = new Set(["__launch_bounds__", "__grid_constant__", "__shared__"]);
      const reserved = rest.match(/\b__\w+/g) ?? [];
      expect(reserved.filter((word) => !keywords.has(word))).toEqual([]);
    }
  });

  test("every device file is in it, and no placeholder of a template is left", () => {
    const flagFiles = ["flags.cuh", "linear_of_one.cuh"];
    // For steps of many tokens, for tiles in pairs, and for steps of a few.
    const others = ["squares.cuh", "few_shared.cuh", "attention_of_few.cuh"];
    const splitFiles = ["units.cuh", "past.cuh", "joins.cuh", "parts.cuh", "merge.cuh"];
    const made = planOf(linears(16));
    const folder = new URL("../src/device/", import.meta.url);
    const files = readdirSync(folder).filter((name) => name.endsWith(".cuh"));
    const parts = { profile: true, flags: false, many: true };
    const { source } = emitReal(made, "sm_90a", true);
    for (const file of files) {
      const isLeftOut = [...flagFiles, ...splitFiles, ...others].includes(file);
      expect(source.includes(deviceText(file, parts).trim()), file).toBe(!isLeftOut);
    }
    const flagged = plan(linears(), scheduleTable, made.machine, { protocol: "flag" });
    const withFlags = emitReal(flagged, "sm_90a").source;
    const split = emitReal(planOf(everyOp()), "sm_90a").source;
    for (const file of [...splitFiles, "squares.cuh"]) {
      expect(split).toContain(deviceText(file).trim());
    }
    const unused = [
      "profile.cuh", "slices.cuh", "wide_ends.cuh", "few_tiles.cuh", "linear_wide.cuh", "squares.cuh",
      "few_shared.cuh", ...splitFiles,
    ];
    for (const file of files.filter((name) => !unused.includes(name))) {
      expect(withFlags).toContain(deviceText(file, { profile: false, flags: true, few: true }).trim());
    }
    expect(withFlags).not.toContain("run_linear_wide");
    for (const text of [source, withFlags]) {
      expect(withoutComments(text).match(/\{\{ |\{% |undefined|NaN|\[object /g)).toBeNull();
    }
  });

  test("lines end in a newline alone, and the last one does", () => {
    const { source } = emitReal(planOf(smallOps()));
    expect(source).not.toMatch(/[\r\t]| $/m);
    expect(source.endsWith("\n")).toBe(true);
  });
});

describe("size", () => {
  test("bodies and tables do not grow with the layers of a model", () => {
    const sizes = [40, 80].map((layers) => {
      const { source } = emitReal(planOf(layered(layers)));
      return { bodies: bodiesOf(source).length, words: tableOf(source, "kWords").length };
    });
    expect(sizes[1]).toEqual(sizes[0]);
  });
});

describe("what cannot be emitted is refused", () => {
  const made = planOf(linears());

  test("an unknown target, with those there are", () => {
    const names = targets.map(({ name }) => name).join(", ");
    expect(() => emitReal(made, "sm_75")).toThrow(`unknown target 'sm_75'; choose one of ${names}`);
    expect(findTarget("sm_120").sharedBytes).toBe(machines.rtx5090.sharedBytes);
  });

  test("a plan that needs more shared memory than the target has", () => {
    expect(() => emitReal(made, "sm_86")).toThrow(
      /the plan for virtual-3 needs \d+ bytes of shared memory, sm_86 has 101376; plan for/,
    );
  });

  test("an op without a body, by its place in the model", () => {
    const fewer = new Map([...bodyTable].filter(([kind]) => kind !== "blockMax"));
    expect(() => emit(made, scheduleTable, fewer, { target: "sm_90a" }))
      .toThrow(/op 'blockMax' at top has no CUDA body/);
  });

  test("a program that chooses no token", () => {
    const program = made.program;
    const ops = program.ops.filter(({ kind }) => kind !== "sample");
    const spoilt: Plan = { ...made, program: { ...program, ops } };
    expect(() => emitReal(spoilt)).toThrow(/program linears chooses no token; end it with sample/);
  });

  test("more tokens to choose from than a table has rows", () => {
    const w = writer("short");
    const short = head(w, w.embed(99, 64), 100);
    expect(() => emitReal(planOf(short))).toThrow(/embed has 99 rows, but 100 token ids can be/);
  });

  test.each([
    [{ consumerWarps: 1, stages: 4 }, "2 to 16 consumer warps, the plan has 1"],
    [{ consumerWarps: 24, stages: 24, stageBytes: 1024 }, "2 to 16 consumer warps, the plan has 24"],
  ])("a ring of %o", (options, message) => {
    const ringed = plan(linears(), scheduleTable, virtual(2), { ...options, maxInFlight: 2 });
    expect(() => emitReal(ringed)).toThrow(message);
  });

  test("positions that are not the step's", () => {
    const w = writer("turned");
    const x = w.embed(300, 64);
    const best = w.op("argmax", [x]);
    const scaling = { kind: "none" };
    const turned = w.op("rope", [x, best], { headDim: 16, theta: 10000, scaling });
    const made = planOf(head(w, turned, 300));
    expect(() => emitReal(made)).toThrow(/input 1 must be the step's positions/);
  });

  test("an instruction longer than its place in shared memory", () => {
    fc.assert(
      fc.property(toyPlans(), (toy) => {
        const { start, items } = toy.waits;
        const many = Int32Array.from({ length: 50 }, () => items[0] ?? 0);
        const grown = start.map((at, i) => (i === 0 ? at : at + many.length));
        const waits = { start: grown, items: Int32Array.from([...many, ...items]) };
        expect(() => emitToy({ ...toy, waits })).toThrow(/instruction words, at most 96.*split/);
      }),
      { numRuns: 5 },
    );
  });
});

test("ids and positions are numbers in an expression, not machine words", () => {
  const w = writer("places");
  const [ids, positions] = [w.b.input("ids"), w.b.input("positions")];
  w.b.output("difference", w.map("-a0 - a1", [ids, positions]));
  const { source } = emitReal(planOf(head(w, w.embed(300, 64), 300)));
  const [id, position] = ["c.shared->step.ids[row]", "c.position + row"].map(
    (text) => `static_cast<float>(${text})`,
  );
  expect(source).toContain(`return ((-${id}) - ${position});`);
});

test("ops share a body only if the producer copies alike for both", () => {
  fc.assert(
    fc.property(toyPlans({ maxOps: 10 }), (toy) => {
      const { source } = emit(toy, toyTable, toyBodies, { target: "sm_90a" });
      const kinds = new Set(bodiesOf(source).map((_, i) => {
        const chunks = tableOf(source, "kBodyTileChunks")[i]!;
        return `${chunks} ${tableOf(source, "kBodyChunkBytes")[i]!} ${bodiesOf(source)[i]!.text}`;
      }));
      expect(kinds.size).toBe(bodiesOf(source).length);
    }),
    { numRuns: 20 },
  );
});
