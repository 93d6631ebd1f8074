/** @file Passes keep what a Program computes, and leave a decoder layer with five ops. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defaultPasses, runPasses, verifyProgram } from "@mpk/ir";
import type { Pass, Program } from "@mpk/ir";
import { semanticsTable } from "../../src/semantics.ts";
import { buildDecoder, decoderForms, plainForm } from "./decoder.ts";
import type { DecoderForm } from "./decoder.ts";
import { expectSameResults } from "./same.ts";

const prompts = fc.record({
  seed: fc.integer(),
  ids: fc.array(fc.nat(), { minLength: 4, maxLength: 8 }),
});

describe("each pass keeps every step's results, with and without rounding", () => {
  // Ordinary programs and those that earlier passes made.
  it.each(defaultPasses.map((pass) => [pass.name, pass] as const))("%s", (_, pass) => {
    const earlier = defaultPasses.slice(0, defaultPasses.indexOf(pass));
    let changed = 0;
    fc.assert(fc.property(decoderForms, prompts, fc.boolean(), (form, { seed, ids }, prepared) => {
      const built = buildDecoder(form);
      const before = prepared ? runPasses(built, semanticsTable, earlier) : built;
      const after = runPasses(before, semanticsTable, [pass]);
      if (after === before) return;
      changed++;
      expectSameResults(before, after, seed, ids);
    }), { numRuns: 60 });
    expect(changed).toBeGreaterThan(5);
  });

  it("all of them", () => {
    fc.assert(fc.property(decoderForms, prompts, (form, { seed, ids }) => {
      const before = buildDecoder(form);
      const after = runPasses(before, semanticsTable);
      expectSameResults(before, after, seed, ids);
    }), { numRuns: 120 });
  });

  it("a second run changes nothing", () => {
    fc.assert(fc.property(decoderForms, (form) => {
      const once = runPasses(buildDecoder(form), semanticsTable);
      expect(runPasses(once, semanticsTable)).toEqual(once);
    }), { numRuns: 60 });
  });
});

/** Ops that are not views, by kind. */
const work = (program: Program): string[] => program.ops
  .filter((op) => !semanticsTable.get(op.kind)!.traits.view)
  .map((op) => op.kind);

const layer = ["linear", "attention", "linear", "linear", "linear"];

describe("a decoder layer is five ops", () => {
  const forms: readonly (readonly [string, Partial<DecoderForm>])[] = [
    ["plain", {}],
    ["with biases", { bias: "all" }],
    ["with float32 biases and q/k norm", { bias: "all", biasType: "f32", qkNorm: true }],
    ["with biases everywhere", { bias: "all", otherBiases: true, gate: "two ops" }],
    ["with layer norm", { norm: "layer" }],
    ["with a cast for each projection", { casts: "each", gate: "two ops" }],
    ["without casts", { casts: "none", gate: "three ops" }],
    ["with a rounded residual", { roundResidual: true }],
    ["with the sums over devices", { allReduce: true }],
    ["with a window, untied", { window: 3, tied: false, dead: true }],
  ];
  it.each(forms)("%s", (_, form) => {
    const program = runPasses(buildDecoder({ ...plainForm, layers: 2, ...form }), semanticsTable);
    expect(work(program)).toEqual([
      "embedding", ...layer, ...layer, "linear", "blockMax", "sample",
    ]);
  });

  it.each(["before norm", "after norm", "after cast", "after head"] as const)(
    "and the head one linear, lastRow %s", (lastRow) => {
      const form = { ...plainForm, lastRow, headBias: true };
      const program = runPasses(buildDecoder(form), semanticsTable);
      expect(work(program)).toEqual(["embedding", ...layer, "linear", "blockMax", "sample"]);
      const head = program.ops.findLast((op) => op.kind === "linear");
      expect(head?.attrs).toMatchObject({ lastRow: true, norm: { kind: "rms" }, round: "bf16" });
      expect(program.ops.some((op) => op.kind === "lastRow")).toBe(false);
    });

  it("keeps the parts of stacked weights and biases, and drops the originals", () => {
    const form = { ...plainForm, bias: "all" } as const;
    const program = runPasses(buildDecoder(form), semanticsTable);
    const named = (name: string) => {
      const value = program.values.find((v) => v.name === name);
      return program.weights.find((weight) => weight.value === value?.id)?.parts;
    };
    expect(named("layers.0.q+k+v.weight")).toEqual([
      { tensor: "layers.0.q.weight", rows: 16 },
      { tensor: "layers.0.k.weight", rows: 8 },
      { tensor: "layers.0.v.weight", rows: 8 },
    ]);
    expect(named("layers.0.q+k+v.bias")?.map((part) => part.rows)).toEqual([16, 8, 8]);
    expect(named("layers.0.q.weight")).toBeUndefined();
  });
});

describe("running passes", () => {
  it("tells of each pass", () => {
    const seen: string[] = [];
    const program = buildDecoder(plainForm);
    runPasses(program, semanticsTable, defaultPasses, {
      onPass: ({ pass, before, after }) => {
        if (before !== after) seen.push(pass.name);
      },
    });
    expect(seen).toEqual([
      "mergeGateUp", "mergeProjections", "foldCastAndNorm", "foldEpilogue",
      "foldAttentionPrologue", "foldLastRow", "splitSample", "deadCode",
    ]);
    expect(new Set(defaultPasses.map((pass) => pass.name)).size).toBe(defaultPasses.length);
  });

  it("names the pass that breaks a program", () => {
    const breaking: Pass = {
      name: "forgetOps",
      reason: "to show what happens",
      run: (program) => ({ ...program, ops: [] }),
    };
    const program = buildDecoder(plainForm);
    expect(() => runPasses(program, semanticsTable, [breaking])).toThrow(
      "program decoder, after pass forgetOps, is not valid",
    );
    const broken = runPasses(program, semanticsTable, [breaking], { verify: false });
    expect(verifyProgram(broken, semanticsTable).length).toBeGreaterThan(0);
  });
});
