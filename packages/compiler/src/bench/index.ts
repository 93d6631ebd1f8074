/** @file Measuring: benchmarks, their results as text, table and chart. */
export { buildApart, measureApart, type ApartOptions, type Build } from "./apart.ts";
export { benchOne, requireGpu, type BenchOptions, type BenchMeasured } from "./bench.ts";
export { measureBesides, type BesideJob, type BesideOptions, type Run } from "./beside.ts";
export { chartOf } from "./chart.ts";
export {
  differenceOf, goesOn, isKnown, measureAll, originOf, withResult, type Queued, type QueueRequest,
} from "./keep.ts";
export * from "./measure.ts";
export { measuredModel, type MeasuredModel } from "./model.ts";
export { originHere, sourcesHere } from "./origin.ts";
export { findPython, type Beside } from "./python.ts";
export * from "./result.ts";
export { settingOf, settingText, suite, suiteNames, type BenchSetting } from "./setting.ts";
export * from "./statistics.ts";
export { markdownTable, replacePart, resultsPart, resultText } from "./table.ts";
