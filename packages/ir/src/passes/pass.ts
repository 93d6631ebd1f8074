/** @file What a pass is. */
import type { SemanticsTable } from "../semantics.ts";
import type { Program } from "../types.ts";

/** A rewrite of a Program to one that computes the same, with every cast where it was. */
export interface Pass {
  readonly name: string;
  /** Why the pass exists, and why it stands where it does. */
  readonly reason: string;
  /** Gives `program` itself where there is nothing to do. */
  run(program: Program, table: SemanticsTable): Program;
}
