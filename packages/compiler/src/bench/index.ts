/** @file Measuring: benchmarks, their results as text, table and chart. */
export { benchModel, requireGpu, type BenchOptions } from "./bench.ts";
export { chartOf } from "./chart.ts";
export * from "./measure.ts";
export { measuredModel, type MeasuredModel } from "./model.ts";
export { findPython, measureBeside, type Beside, type BesideRequest } from "./python.ts";
export * from "./result.ts";
export * from "./statistics.ts";
export { markdownTable, replacePart, resultText } from "./table.ts";
