/** @file The table's projection for the emitter: each op's body in the kernel. */
import type { BodyTable, OpBody } from "@mpk/cuda";
import { opTable } from "./table.ts";

export { mostStepTokens } from "./ops/linear/wide.ts";

/** Bodies by op name; views have none. */
export const bodyTable: BodyTable = new Map(
  opTable.flatMap(({ semantics, body }): [string, OpBody<never>][] =>
    body === null ? [] : [[semantics.name, body]],
  ),
);
