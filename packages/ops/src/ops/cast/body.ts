/** @file cast: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { elementsTemplate, elementsView, inputOf } from "../../shared/body.ts";
import { columnBlock } from "../../shared/tiles.ts";
import type { CastAttrs } from "./semantics.ts";

export const body: OpBody<CastAttrs> = {
  template: elementsTemplate,
  run: "elements",
  view(_op, env) {
    const x = inputOf(env, 0);
    return elementsView(env, columnBlock(env), env.element(x, "row", "column"));
  },
};
