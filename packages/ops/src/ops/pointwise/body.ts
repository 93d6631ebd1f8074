/** @file pointwise: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { elementsTemplate, elementsView } from "../../shared/body.ts";
import { columnBlock } from "../../shared/tiles.ts";
import type { PointwiseAttrs } from "./semantics.ts";

export const body: OpBody<PointwiseAttrs> = {
  template: elementsTemplate,
  run: "elements",
  view(op, env) {
    const args = env.inputs.map((input) => env.element(input, "row", "column"));
    const argsOfOne = env.inputs.map((input) => env.elementOfOne(input, "column"));
    return elementsView(
      env, columnBlock(env), env.expression(op.attrs.expr, args),
      env.expression(op.attrs.expr, argsOfOne),
    );
  },
};
