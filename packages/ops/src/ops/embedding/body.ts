/** @file embedding: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { elementsTemplate, elementsView, inputOf } from "../../shared/body.ts";
import { columnBlock } from "../../shared/tiles.ts";
import type { EmbeddingAttrs } from "./semantics.ts";

export const body: OpBody<EmbeddingAttrs> = {
  template: elementsTemplate,
  run: "elements",
  view(_op, env) {
    const table = inputOf(env, 1);
    const element = (row: string): string => {
      const token = `static_cast<u32>(${env.element(inputOf(env, 0), row, "0")})`;
      return env.element(table, token, "column");
    };
    return elementsView(env, columnBlock(env), element("row"), element("0"));
  },
};
