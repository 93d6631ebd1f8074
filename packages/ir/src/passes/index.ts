/** @file The passes as one ordered list, and how they run: verified one by one. */
import type { SemanticsTable } from "../semantics.ts";
import type { Program } from "../types.ts";
import { ProgramError, verifyProgram } from "../verify.ts";
import { deadCode } from "./dead-code.ts";
import { dropAllReduce } from "./drop-all-reduce.ts";
import { foldAttentionPrologue } from "./fold-attention-prologue.ts";
import { foldCastAndNorm } from "./fold-cast-and-norm.ts";
import { foldEpilogue } from "./fold-epilogue.ts";
import { foldLastRow } from "./fold-last-row.ts";
import { mergeGateUp } from "./merge-gate-up.ts";
import { mergeProjections } from "./merge-projections.ts";
import type { Pass } from "./pass.ts";
import { shareEqualOps } from "./share-equal-ops.ts";
import { roundAttended } from "./round-attended.ts";
import { fewTokens, shareNorms } from "./share-norms.ts";
import { splitAttention } from "./split-attention.ts";
import { splitSample } from "./split-sample.ts";

export type { Pass } from "./pass.ts";

/** Every pass, in the order in which they run on one device. */
export const defaultPasses: readonly Pass[] = Object.freeze([
  shareEqualOps,
  dropAllReduce,
  mergeGateUp,
  mergeProjections,
  foldCastAndNorm,
  foldEpilogue,
  foldAttentionPrologue,
  foldLastRow,
  splitSample,
  deadCode,
]);

/** The passes for programs whose steps may have so many tokens. */
export const passesOfSteps = ({ maxTokens }: Program["limits"]): readonly Pass[] =>
  maxTokens > fewTokens ? [...defaultPasses, shareNorms, roundAttended] : defaultPasses;

/** For one of several ranks, as `shard` gives it: sums over ranks stay. */
export const rankPasses: readonly Pass[] = Object.freeze(
  defaultPasses.filter((pass) => pass !== dropAllReduce),
);

/** Of `runPasses`. */
export interface RunPassesOptions {
  /** Verifies the Program before the first and after each pass. On by default. */
  readonly verify?: boolean;
  /** Called after each pass; `before` and `after` are the same object where nothing changed. */
  readonly onPass?: (event: {
    readonly pass: Pass;
    readonly before: Program;
    readonly after: Program;
  }) => void;
}

/**
 * Runs passes in order. Throws `ProgramError`, naming the pass, for a Program that is not valid
 * to begin with or that a pass broke.
 */
export function runPasses(
  program: Program,
  table: SemanticsTable,
  passes: readonly Pass[] = defaultPasses,
  options: RunPassesOptions = {},
): Program {
  const { verify = true, onPass } = options;
  const check = (checked: Program, name: string): void => {
    const violations = verify ? verifyProgram(checked, table) : [];
    if (violations.length > 0) throw new ProgramError(name, violations);
  };
  check(program, program.name);
  let current = program;
  for (const pass of passes) {
    const before = current;
    current = pass.run(before, table);
    if (current !== before) check(current, `${program.name}, after pass ${pass.name},`);
    onPass?.({ pass, before, after: current });
  }
  return current;
}

export {
  deadCode, dropAllReduce, foldAttentionPrologue, foldCastAndNorm, foldEpilogue, foldLastRow,
  fewTokens, mergeGateUp, mergeProjections, roundAttended, shareEqualOps, shareNorms, splitAttention,
  splitSample,
};
