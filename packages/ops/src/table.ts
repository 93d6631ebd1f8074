/** @file The op table: one line an op. */
import { allReduce } from "./ops/allReduce/index.ts";
import { argmax } from "./ops/argmax/index.ts";
import { attention } from "./ops/attention/index.ts";
import { attentionMerge } from "./ops/attentionMerge/index.ts";
import { attentionPart } from "./ops/attentionPart/index.ts";
import { blockMax } from "./ops/blockMax/index.ts";
import { blockSquares } from "./ops/blockSquares/index.ts";
import { cast } from "./ops/cast/index.ts";
import { concat } from "./ops/concat/index.ts";
import { embedding } from "./ops/embedding/index.ts";
import { lastRow } from "./ops/lastRow/index.ts";
import { layerNorm } from "./ops/layerNorm/index.ts";
import { linear } from "./ops/linear/index.ts";
import { pointwise } from "./ops/pointwise/index.ts";
import { reshape } from "./ops/reshape/index.ts";
import { rmsNorm } from "./ops/rmsNorm/index.ts";
import { rope } from "./ops/rope/index.ts";
import { sample } from "./ops/sample/index.ts";
import { slice } from "./ops/slice/index.ts";
import { softmax } from "./ops/softmax/index.ts";
import type { AnyOp } from "./define.ts";

/** All ops. */
export const opTable: readonly AnyOp[] = Object.freeze([
  embedding,
  linear,
  rmsNorm,
  layerNorm,
  rope,
  attention,
  attentionPart,
  attentionMerge,
  pointwise,
  cast,
  softmax,
  slice,
  reshape,
  concat,
  lastRow,
  argmax,
  blockMax,
  blockSquares,
  sample,
  allReduce,
]);
