/** @file layerNorm: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, runsTemplate, runsView } from "../../shared/body.ts";
import type { LayerNormAttrs } from "./semantics.ts";

export const body: OpBody<LayerNormAttrs> = {
  template: runsTemplate,
  run: "row_op",
  view(op, env) {
    const finish = `value * ${env.element(inputOf(env, 1), "0", "i")} + ${env.element(inputOf(env, 2), "0", "i")}`;
    return runsView(env, "layer", op.attrs.width, op.attrs.eps, finish);
  },
};
