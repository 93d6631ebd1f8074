/** @file What an op of the table is: a record of facets, none optional. */
import type { OpBody } from "@mpk/cuda";
import type { OpSchedule } from "@mpk/schedule";

/** An op's facets. `A`: its attributes. */
export interface OpDefinition<A> extends OpSchedule<A> {
  /** Its task in the kernel; null for a view, which never becomes a task. */
  readonly body: OpBody<A> | null;
}

/** An op whose attribute type is forgotten, for tables. */
export type AnyOp = OpDefinition<never>;

/**
 * An op from its facets; leaving one out is a compile error. The table forgets the attribute type:
 * a caller gets attributes from `parseAttrs` and hands them to the same op's other functions.
 */
export function defineOp<A>(facets: OpDefinition<A>): AnyOp {
  // A caller never makes attributes itself, so `never` only hides the type: see above.
  return Object.freeze(facets) as unknown as AnyOp;
}
