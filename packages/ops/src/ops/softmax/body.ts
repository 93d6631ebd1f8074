/** @file softmax: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { runsTemplate, runsView } from "../../shared/body.ts";
import type { SoftmaxAttrs } from "./semantics.ts";

export const body: OpBody<SoftmaxAttrs> = {
  template: runsTemplate,
  run: "row_op",
  view(op, env) {
    const finish = "value";
    return runsView(env, "softmax", op.attrs.width, 0, finish);
  },
};
