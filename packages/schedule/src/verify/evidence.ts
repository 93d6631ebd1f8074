/** @file What a violation rests on, as places in SMs' orders: for counterexamples. Pure data. */
import type { StepKind } from "./execution.ts";

/** A place in a run: the task at `place` of an SM's order, in a step. */
export interface Happening {
  readonly sm: number;
  /** 0: the SM's first task. */
  readonly place: number;
  readonly step: number;
  /** True: not the task, but the SM entering the step, where it reads the step descriptor. */
  readonly entering: boolean;
}

/** A wait that is never over. */
export interface Waiting extends Happening {
  /** -1: it polls words of a flagged value. */
  readonly event: number;
  readonly expected: number;
  readonly seen: number;
}

/** `kinds`: what the steps are, from the first on. */
export type Evidence =
  /** `second` can start while `first` is not done, and both touch `what`. */
  | {
      readonly kind: "race";
      readonly kinds: readonly StepKind[];
      readonly what: string;
      readonly first: Happening;
      readonly second: Happening;
    }
  /** A trigger of the step before may come after `second`'s, so one is taken for the other. */
  | {
      readonly kind: "epoch";
      readonly kinds: readonly StepKind[];
      readonly event: number;
      readonly second: Happening;
    }
  | {
      readonly kind: "deadlock";
      readonly kinds: readonly StepKind[];
      readonly waiting: readonly Waiting[];
    }
  | { readonly kind: "count"; readonly event: number; readonly triggers: number };
