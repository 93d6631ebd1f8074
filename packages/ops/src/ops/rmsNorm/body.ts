/** @file rmsNorm: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, runsTemplate, runsView } from "../../shared/body.ts";
import type { RmsNormAttrs } from "./semantics.ts";

export const body: OpBody<RmsNormAttrs> = {
  template: runsTemplate,
  run: "row_op",
  view(op, env) {
    const finish = `value * ${env.element(inputOf(env, 1), "0", "i")}`;
    return runsView(env, "rms", op.attrs.width, op.attrs.eps, finish);
  },
};
