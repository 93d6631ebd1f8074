/** @file layerNorm: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, runsTemplate, runsView } from "../../shared/body.ts";
import type { LayerNormAttrs } from "./semantics.ts";

export const body: OpBody<LayerNormAttrs> = {
  template: runsTemplate,
  run: "row_op",
  view(op, env) {
    const [gain, bias] = [1, 2].map((input) => env.element(inputOf(env, input), "0", "i"));
    const finish = `value * ${gain} + ${bias}`;
    return runsView(env, "layer", op.attrs.width, op.attrs.eps, finish);
  },
};
