/** @file Counterexamples: made from a violation, saved, and replayed on a plan. */
export { loadCounterexample, saveCounterexample } from "./format.ts";
export type { Claim, Counterexample, Point, ScheduledMove } from "./format.ts";
export { counterexampleOf } from "./shorten.ts";
export { replay, ReplayError } from "./replay.ts";
export type { Replay } from "./replay.ts";
