/** @file Measuring: benchmarks, their results as text, table and chart. */
export { buildApart, measureApart, type ApartOptions, type Build } from "./apart.ts";
export { benchOne, requireGpu, type BenchOptions } from "./bench.ts";
export { chartOf } from "./chart.ts";
export {
  differenceOf, goesOn, measureAll, originOf, withResult, type Queued, type QueueRequest,
} from "./keep.ts";
export * from "./measure.ts";
export { measuredModel, type MeasuredModel } from "./model.ts";
export { originHere, sourcesHere } from "./origin.ts";
export { besideOf, findPython, type Beside, type BesideProcess, type BesideRequest } from "./python.ts";
export * from "./result.ts";
export { settingOf, settingText, suite, suiteNames, type BenchSetting } from "./setting.ts";
export * from "./statistics.ts";
export { markdownTable, replacePart, resultText } from "./table.ts";
