/** @file Tuning: the knobs, the search, what it found. */
export { rungs, successiveHalving, type Outcome, type Ranked, type Trial } from "./halving.ts";
export {
  choiceText, combinations, isChoice, knobs, singleChanges, type Choice,
} from "./knobs.ts";
export { readTuned, tunedPath, writeTuned, type Tuned } from "./store.ts";
export {
  otherAnswer, tune, type Answer, type OpenedChoice, type TuneRequest, type TuneResult,
} from "./tune.ts";
