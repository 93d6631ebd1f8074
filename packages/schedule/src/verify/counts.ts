/** @file Law 4: thresholds equal triggers, and no epoch can be mistaken for another. */
import type { Execution } from "./execution.ts";
import type { Model } from "./model.ts";
import { describeEvent, describeTask, openLaw, taskLine } from "./report.ts";
import type { LawReport } from "./report.ts";

/** Counters are 32-bit. */
const counterLimit = 2 ** 32 - 1;

export function checkCounts(model: Model, executions: readonly Execution[]): LawReport {
  const law = openLaw("counts");
  const { plan, slotTask } = model;
  const { events, signals } = plan;
  const triggers = new Int32Array(events.count);
  const example = new Int32Array(events.count).fill(-1);
  for (let slot = 0; slot < model.slots; slot++) {
    const task = slotTask[slot] ?? -1;
    const list = signals.items.subarray(signals.start[task], signals.start[task + 1]);
    list.forEach((event, i) => {
      triggers[event] = (triggers[event] ?? 0) + 1;
      example[event] = task;
      if (list.indexOf(event) === i) return;
      law.violate(`${describeTask(plan, task)} triggers event ${event} twice`, [
        taskLine(plan, task),
      ]);
    });
  }
  let highest = 1;
  for (let event = 0; event < events.count; event++) {
    law.count("events");
    law.count("triggers per step", triggers[event] ?? 0);
    highest = Math.max(highest, events.threshold[event] ?? 0);
    if (events.threshold[event] === triggers[event]) continue;
    const task = example[event] ?? -1;
    law.violate(
      `${describeEvent(plan, event)} is triggered ${triggers[event]} times a step`,
      task < 0 ? [] : [taskLine(plan, task)],
      { kind: "count", event, triggers: triggers[event] ?? 0 },
    );
  }
  const mixed = executions.flatMap(({ mixed: found, kinds }) =>
    found.map((at) => ({ ...at, kinds })));
  for (const { event, slot, step, kinds } of mixed) {
    const task = slotTask[slot] ?? -1;
    const sm = model.slotSm[slot] ?? 0;
    const place = slot - (plan.order.start[sm] ?? 0);
    law.violate(
      `${describeTask(plan, task)} may trigger event ${event} in step ${step} before all ` +
        `triggers of step ${step - 1} are done: the count would be taken for theirs`,
      [taskLine(plan, task)],
      { kind: "epoch", kinds, event, second: { sm, place, step, entering: false } },
    );
  }
  law.count("steps before a 32-bit counter wraps", Math.floor(counterLimit / highest));
  return law.close();
}
