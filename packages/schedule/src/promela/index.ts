/** @file Small plans as Promela models, for SPIN: a second opinion beside `verify`. */
import type { ScheduleTable } from "../contracts.ts";
import { describeOp } from "../errors.ts";
import type { Plan } from "../plan.ts";
import { renderPlan } from "./render.ts";
import { planTables } from "./tables.ts";

/** Of `exportPromela`. */
export interface PromelaOptions {
  /**
   * Steps of the launch that is searched; default 2, and 3 for a plan with flags, whose copies are
   * used again in the third. The time grows steeply with it.
   */
  readonly steps?: number;
}

/**
 * A model of the plan's hand-offs for `spin -a`: searched exhaustively, it shows a wrong read or a
 * hang in any interleaving of the SMs, with stores that show late and out of order. Throws
 * `PlanError` for a plan that is too large for it.
 */
export function exportPromela(
  plan: Plan,
  table: ScheduleTable,
  { steps = plan.flags.value.length > 0 ? 3 : 2 }: PromelaOptions = {},
): string {
  const tables = planTables(plan, table, steps);
  const slots = Array.from(plan.order.items, (task, slot) => {
    const op = plan.program.ops[plan.tasks.op[task] ?? -1];
    const name = op === undefined ? "no op" : describeOp(op);
    const tiles = `${plan.tasks.tileLo[task]}..${plan.tasks.tileHi[task]}`;
    return `  slot ${slot}: SM ${plan.tasks.sm[task]}, task ${task}, ${name} tiles ${tiles}`;
  });
  return renderPlan(tables, [
    `${plan.program.name} on ${plan.machine.sms} SMs, ${steps} steps. To search all executions:`,
    "  spin -a FILE && gcc -O2 -DSAFETY -DVECTORSZ=4096 -o pan pan.c && ./pan -m100000",
    "On an error, ./pan -r -n replays the execution that goes wrong, touch by touch.",
    "Not in it: the ring below the order of chunks (see docs/adr/0005-spin.md).",
    "Slots (places in the SMs' orders):", ...slots,
    "Watched, one at a time:", ...tables.cellNames.map((name, i) => `  ${i}: ${name}`),
  ]);
}
