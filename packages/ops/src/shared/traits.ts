/** @file Op traits: an op states those it has, the others are false. */
import type { Traits } from "@mpk/ir";

const none: Traits = Object.freeze({
  pointwise: false,
  contraction: false,
  rowNorm: false,
  view: false,
  cast: false,
  stateful: false,
  effect: false,
});

/** Traits with the named ones true. */
export function traits(...names: readonly (keyof Traits)[]): Traits {
  return Object.freeze({ ...none, ...Object.fromEntries(names.map((name) => [name, true])) });
}
