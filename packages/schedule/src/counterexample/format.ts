/** @file A counterexample as JSON text: a schedule that shows a violation, for any plan to replay. */
import { PlanFormatError, Reader } from "../load.ts";
import type { StepKind } from "../verify/execution.ts";
import { lawNames } from "../verify/report.ts";
import type { LawName } from "../verify/report.ts";
import { actions } from "./stepper.ts";
import type { Action } from "./stepper.ts";

/** A place in a run, with what stands there, so that a plan can be told from another. */
export interface Point {
  readonly sm: number;
  readonly step: number;
  /** In the SM's order. */
  readonly place: number;
  readonly task: number;
  /** True: the SM entering the step, before this task, its first. */
  readonly entering: boolean;
  /** Op, scope, call site and tiles, as text. */
  readonly text: string;
}

/** What goes wrong at the end of the schedule. */
export type Claim =
  /** `second` begins while `first` is not over, and both touch `what`. */
  | {
      readonly kind: "race";
      readonly what: string;
      readonly first: Point;
      readonly second: Point;
    }
  /** `second`'s trigger counts for the step before, in place of `first`'s, which is not over. */
  | {
      readonly kind: "epoch";
      readonly event: number;
      readonly first: Point;
      readonly second: Point;
    }
  /** None of them can ever go on. */
  | { readonly kind: "deadlock"; readonly waiting: readonly Point[] }
  | {
      readonly kind: "count";
      readonly event: number;
      readonly threshold: number;
      readonly triggers: number;
    }
  /** Not a matter of order: the law itself is asked again. */
  | { readonly kind: "law" };

/** One move of a counterexample's run: which SM did what. */
export interface ScheduledMove {
  readonly sm: number;
  readonly step: number;
  readonly task: number;
  readonly action: Action;
}

/** The shortest run found against a law, as JSON that can be saved and replayed. */
export interface Counterexample {
  readonly format: "mpk-counterexample";
  readonly version: 1;
  readonly program: string;
  readonly sms: number;
  readonly law: LawName;
  readonly message: string;
  /** What the steps are, from the first on; the last goes on. */
  readonly kinds: readonly StepKind[];
  readonly claim: Claim;
  /** Moves of each SM that come before the schedule; SMs that made none are left out. */
  readonly before: readonly { readonly sm: number; readonly moves: number }[];
  readonly schedule: readonly ScheduledMove[];
}

/** JSON text that `loadCounterexample` reads back. */
export function saveCounterexample(counterexample: Counterexample): string {
  return `${JSON.stringify(counterexample, null, 2)}\n`;
}

/** A minimal one has a handful; replaying takes the steps that are named, one by one. */
const mostSteps = 256;

/** Throws `PlanFormatError` naming the path in the JSON, expected and got. */
export function loadCounterexample(text: string): Counterexample {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new PlanFormatError(`a counterexample is JSON text: ${(error as Error).message}`);
  }
  const root = new Reader(json, "counterexample");
  root.at("format").literal("mpk-counterexample");
  root.at("version").literal(1);
  return Object.freeze({
    format: "mpk-counterexample",
    version: 1,
    program: root.at("program").text(),
    sms: root.at("sms").count(),
    law: oneOf(root.at("law"), lawNames),
    message: root.at("message").text(),
    kinds: root.at("kinds").list((entry) => oneOf(entry, ["one", "many"] as const)),
    claim: readClaim(root.at("claim")),
    before: root.at("before").list((entry) => ({
      sm: entry.at("sm").count(), moves: entry.at("moves").count(),
    })),
    schedule: root.at("schedule").list((entry) => ({
      sm: entry.at("sm").count(),
      step: entry.at("step").countUpTo(mostSteps),
      task: entry.at("task").count(),
      action: oneOf(entry.at("action"), actions),
    })),
  });
}

function oneOf<T extends string>(from: Reader, names: readonly T[]): T {
  const text = from.text();
  return names.find((name) => name === text) ?? from.fail(names.join(", "));
}

function readPoint(from: Reader): Point {
  return {
    sm: from.at("sm").count(),
    step: from.at("step").countUpTo(mostSteps),
    place: from.at("place").count(),
    task: from.at("task").count(),
    entering: from.at("entering").flag(),
    text: from.at("text").text(),
  };
}

const claimReaders = {
  race: (from) => ({
    kind: "race", what: from.at("what").text(),
    first: readPoint(from.at("first")), second: readPoint(from.at("second")),
  }),
  epoch: (from) => ({
    kind: "epoch", event: from.at("event").count(),
    first: readPoint(from.at("first")), second: readPoint(from.at("second")),
  }),
  deadlock: (from) => ({
    kind: "deadlock",
    waiting: from.at("waiting").list(readPoint),
  }),
  count: (from) => ({
    kind: "count", event: from.at("event").count(),
    threshold: from.at("threshold").count(), triggers: from.at("triggers").count(),
  }),
  law: () => ({ kind: "law" }),
} as const satisfies { readonly [K in Claim["kind"]]: (from: Reader) => Claim & { kind: K } };

const claimKinds = ["race", "epoch", "deadlock", "count", "law"] as const;

function readClaim(from: Reader): Claim {
  return claimReaders[oneOf(from.at("kind"), claimKinds)](from);
}
