/** @file concat: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { elementsTemplate, elementsView } from "../../shared/body.ts";
import { columnBlock } from "../../shared/tiles.ts";
import type { ConcatAttrs } from "./semantics.ts";

export const body: OpBody<ConcatAttrs> = {
  template: elementsTemplate,
  run: "elements",
  view(_op, env) {
    // Nested choices, from the last part to the first: a column lies in the first part it fits.
    let end = env.inputs.reduce((sum, input) => sum + input.columns, 0);
    const text = env.inputs.reduceRight((rest, input) => {
      const from = end - input.columns;
      const here = env.element(input, "row", from === 0 ? "column" : `(column - ${from}u)`);
      const choice = rest === "" ? here : `(column < ${end}u ? ${here} : ${rest})`;
      end = from;
      return choice;
    }, "");
    return elementsView(env, columnBlock(env), text);
  },
};
