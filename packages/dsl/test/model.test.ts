/** @file What a model function records, and how mistakes in it read. */
import { createInterpreter, verifyProgram } from "@mpk/ir";
import type { Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import { describe, expect, it } from "vitest";
import { defineModel } from "@mpk/dsl";
import type { Model, Tensor } from "@mpk/dsl";

const limits = { maxTokens: 4, maxContext: 32 };

const build = (define: (m: Model) => Record<string, Tensor>): Program =>
  defineModel({ name: "test", limits }, define);

const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("nothing was thrown");
};

describe("defineModel", () => {
  it("records a decoder that the verifier accepts and the interpreter runs", () => {
    const program = build((m) => {
      const [ids, positions] = [m.ids(), m.positions()];
      const table = m.weight("embed", [19, 8]);
      const x = m.layers(2, table.lookup(ids), (l, h) => {
        const n = h.rmsNorm(l.weight("norm", [8]), { eps: 1e-5 });
        const [q, k, v] = n.matmul(l.weight("qkv", [16, 8])).split([8, 4, 4]);
        const rope = { headDim: 4, theta: 10000 };
        const cache = l.kvCache({ kvHeads: 1, headDim: 4 });
        const turned = k.rope(positions, rope);
        const a = q.rope(positions, rope).attention(turned, v, cache, { positions });
        return h.add(a.matmul(l.weight("out", [8, 8])));
      });
      const logits = x.last().matmul(table);
      return { logits, token: logits.sample() };
    });
    expect(verifyProgram(program, semanticsTable)).toEqual([]);
    const names = program.weights.map((w) => program.values[w.value]?.name);
    expect(names).toContain("model.layers.1.qkv");
    const size = (name: string): number[] =>
      name === "embed" ? [19, 8] : name.endsWith("qkv") ? [16, 8]
        : name.endsWith("out") ? [8, 8] : [8];
    const interpreter = createInterpreter(program, semanticsTable, {
      precision: "bf16",
      weights: (name) => {
        const shape = size(name);
        const data = new Float32Array(shape.reduce((a, b) => a * b)).map((_, i) => Math.sin(i));
        return { shape, data };
      },
    });
    const { outputs } = interpreter.step({ ids: [3, 1, 4] });
    const logits = Array.from(outputs["logits"]?.data ?? []);
    expect(logits.length).toBe(19);
    expect(outputs["token"]?.data[0]).toBe(logits.indexOf(Math.max(...logits)));
  });

  it("uses a weight that is named twice once, and one cast for products of one tensor", () => {
    const program = build((m) => {
      const table = m.weight("embed", [19, 8]);
      const x = m.weight("embed", [19, 8]).lookup(m.ids());
      return { a: x.matmul(table), b: x.matmul(m.weight("w", [4, 8])) };
    });
    expect(program.weights).toHaveLength(2);
    const kinds = program.ops.map((op) => op.kind);
    expect(kinds.sort()).toEqual(["cast", "embedding", "linear", "linear"]);
  });

  it("reports run-time sizes that do not fit at the line of the model's source", () => {
    const [rows = 0, inner = 0]: number[] = [16, 9];
    const text = message(() => build((m) => {
      const x = m.weight("embed", [19, 8]).lookup(m.ids());
      const w = m.weight("w", [rows, inner]);
      return { x: x.matmul(w) };
    }));
    const line = 1 + Number(
      new Error("here").stack?.match(/model\.test\.ts:(\d+)/)?.[1],
    ) - 4;
    expect(text).toContain(`@mpk/dsl/test/model.test.ts:${line}:`);
    expect(text).toContain("inner dimensions differ");
  });

  it("reports declarations that cannot be, at their line", () => {
    const here = String.raw`at @mpk/dsl/test/model\.test\.ts:\d+:\d+: `;
    const refused: readonly (readonly [RegExp, (m: Model) => unknown])[] = [
      [/^weight .*w is \[3, 2.5\]; every size/, (m) => m.weight("w", [3, 5 / 2])],
      [/^weight .*w is bf16 \[3\] and cannot be bf16 \[4\]/,
        (m) => [m.weight("w", [3]), m.weight("w", [4])]],
      [/^kvCache .*kv exists/, (m) => [1, 2].map(() => m.kvCache({ kvHeads: 1, headDim: 2 }))],
      [/^layers .*NaN layers/, (m) => m.layers(Number.NaN, 0, () => 0)],
    ];
    for (const [text, define] of refused) {
      const found = message(() => build((m) => {
        define(m);
        return {};
      }));
      expect(found).toMatch(text);
      expect(found).toMatch(new RegExp(here));
    }
    expect(message(() => build(() => ({})))).toContain("returns no result");
  });

  it("keeps sizes as they were given, whoever changes the list", () => {
    const sizes: [number, number] = [19, 8];
    const program = build((m) => {
      const table = m.weight("embed", sizes);
      sizes[1] = 4;
      expect(Reflect.set(table.shape, 1, 4)).toBe(false);
      return { x: table.lookup(m.ids()) };
    });
    expect(program.values.map(({ type }) => type.shape)).toContainEqual([19, 8]);
    expect(verifyProgram(program, semanticsTable)).toEqual([]);
  });

  it("names activations that plain JavaScript misspelt, and a function that returns nothing", () => {
    const misspelt = "toString" as "silu";
    expect(message(() => build((m) => ({
      x: m.weight("embed", [19, 8]).lookup(m.ids()).activate(misspelt),
    })))).toMatch(/there is no activation toString; take silu/);
    const nothing = (() => undefined) as unknown as Parameters<typeof build>[0];
    expect(message(() => build(nothing))).toContain("returns no result");
  });

  it("refuses tensors of another model, and work after the model is built", () => {
    const strays: Tensor<readonly ["T", 8], "f32">[] = [];
    build((m) => {
      const x = m.weight("embed", [19, 8]).lookup(m.ids());
      strays.push(x);
      return { x };
    });
    const kept = strays[0]!;
    expect(message(() => kept.scale(2))).toMatch(/already built.*inside the function/);
    expect(message(() => build((m) => {
      const x = m.weight("embed", [19, 8]).lookup(m.ids());
      return { x: x.add(kept) };
    }))).toContain("belongs to another model");
  });
});
