/** @file What an op of the table is: a record of facets, none optional. */
import type { OpSemantics } from "@mpk/ir";

/** An op's facets. `A`: its attributes. */
export interface OpDefinition<A> {
  readonly semantics: OpSemantics<A>;
}

/** An op whose attribute type is forgotten, for tables. */
export type AnyOp = OpDefinition<never>;

/**
 * An op from its facets; leaving one out is a compile error. The table forgets the attribute type:
 * a caller gets attributes from `parseAttrs` and hands them to the same op's other functions.
 */
export function defineOp<A>(facets: OpDefinition<A>): AnyOp {
  return Object.freeze(facets) as AnyOp;
}
