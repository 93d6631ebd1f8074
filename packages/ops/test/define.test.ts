/** @file The op table's types: no facet may be left out, and the projections show no attributes. */
import type { OpSemantics } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import { expect, expectTypeOf, it } from "vitest";
import { defineOp } from "../src/define.ts";
import type { OpDefinition } from "../src/define.ts";
import { cast } from "../src/ops/cast/index.ts";
import type { CastAttrs } from "../src/ops/cast/semantics.ts";

it("makes a missing facet a compile error", () => {
  const { tiling, packing, task, body } = cast as unknown as OpDefinition<CastAttrs>;
  const semantics = cast.semantics as OpSemantics<CastAttrs>;
  expect(defineOp({ semantics, tiling, packing, task, body })).toEqual(cast);
  // @ts-expect-error no task
  defineOp<CastAttrs>({ semantics, tiling, packing, body });
  // @ts-expect-error no tiling
  defineOp<CastAttrs>({ semantics, packing, task, body });
  // @ts-expect-error no packing
  defineOp<CastAttrs>({ semantics, tiling, task, body });
  // @ts-expect-error no body: a view says null
  defineOp<CastAttrs>({ semantics, tiling, packing, task });
});

it("freezes its ops, and hides their attributes' types", () => {
  expect(Object.isFrozen(cast)).toBe(true);
  const op = semanticsTable.get("cast");
  expectTypeOf(op).toEqualTypeOf<OpSemantics<never> | undefined>();
});
