/** @file From the floor to a simulated step: what the memory waited for, by cause and op. Pure. */
import { idleCauses, type IdleCause, type Plan, type Simulation } from "@mpk/schedule";
import { opName } from "../profile/accounts.ts";

export type LossCause = IdleCause | "slow";

/** What each cause means. */
export const lossCauses = {
  slow: "weights read below memory's best rate",
  handOff: "memory stands still: rings are full, SMs wait for others",
  prologue: "memory stands still: rings are full, SMs prepare inputs",
  products: "memory stands still: rings are full, SMs multiply and sum",
} as const satisfies Record<LossCause, string>;

export interface Loss {
  readonly cause: LossCause;
  /** The op that the SMs were at, those of all layers together; null: of no op alone. */
  readonly op: string | null;
  readonly nanos: number;
}

/** Losses, the largest first. Together with the floor they make the step, but for what rings hold. */
export function lossesOf(plan: Plan, { slowNanos, idleNanos }: Simulation): readonly Loss[] {
  const found = new Map<string, { cause: LossCause; op: string; nanos: number }>();
  for (const cause of idleCauses) {
    idleNanos[cause].forEach((nanos, index) => {
      if (nanos === 0) return;
      const op = opName(plan, index);
      const loss = found.get(`${cause} ${op}`) ?? { cause, op, nanos: 0 };
      loss.nanos += nanos;
      found.set(`${cause} ${op}`, loss);
    });
  }
  const slow: Loss[] = slowNanos > 0 ? [{ cause: "slow", op: null, nanos: slowNanos }] : [];
  return [...slow, ...found.values()].sort((a, b) => b.nanos - a.nanos);
}
