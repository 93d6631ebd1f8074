/** @file Why a step takes what it takes, and why not separate kernels. */
export {
  bounds, explain, measuredLosses, type Bound, type ExplainedLoss, type Explanation, type Knob,
} from "./explain.ts";
export { graphGapNanos, graphOf, graphParts, type GraphModel, type GraphPart } from "./graph.ts";
