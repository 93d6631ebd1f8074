/** @file embedding: tiles are blocks of columns of the rows looked up. */
import type { OpTiling } from "@mpk/schedule";
import { columnBlock, columnTiling } from "../../shared/tiles.ts";
import type { EmbeddingAttrs } from "./semantics.ts";

export const tiling: OpTiling<EmbeddingAttrs> = columnTiling({
  width: columnBlock,
  aligned: () => [],
  whole: () => [0],
  // Ids come with the step.
  flags: { polls: () => [0], stores: () => true },
});
