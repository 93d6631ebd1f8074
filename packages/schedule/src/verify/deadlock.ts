/** @file Law 3: no interleaving gets stuck. Words a stuck schedule as its shortest cycle. */
import { alg, Graph } from "graphlib";
import type { Plan } from "../plan.ts";
import type { Waiting } from "./evidence.ts";
import type { Execution, StepKind, Stuck } from "./execution.ts";
import { unrolledSteps } from "./execution.ts";
import type { Model } from "./model.ts";
import { describeEvent, describeTask, openLaw, taskLine, valueName } from "./report.ts";
import type { LawBook, LawReport } from "./report.ts";

export function checkDeadlock(model: Model, executions: readonly Execution[]): LawReport {
  const law = openLaw("deadlock");
  for (const { stuck, kinds } of executions) {
    law.count("task starts", model.slots * unrolledSteps);
    law.count("waits", model.plan.waits.items.length * unrolledSteps);
    if (stuck.length > 0) explain(model, stuck, kinds, law);
  }
  checkRing(model, law);
  return law.close();
}

/** SMs whose slots still have to trigger, or write, what a stuck SM waits for. */
function blames(
  model: Model,
  at: Stuck,
  stuckAt: ReadonlyMap<number, Stuck>,
  kinds: readonly StepKind[],
): readonly number[] {
  const { plan, slotSm, slotTask } = model;
  const epoch = at.step + (plan.events.crossStep[at.event] === 1 ? 0 : 1);
  const blamed = new Set<number>();
  if (at.poll !== null) {
    const sm = slotSm[at.poll.writer] ?? -1;
    return stuckAt.has(sm) ? [sm] : [];
  }
  for (let slot = 0; slot < model.slots; slot++) {
    const task = slotTask[slot] ?? -1;
    const from = plan.signals.start[task] ?? 0;
    const list = plan.signals.items.subarray(from, plan.signals.start[task + 1] ?? 0);
    if (!list.includes(at.event)) continue;
    if (plan.events.manyOnly[at.event] === 1 && kinds[epoch - 1] === "one") continue;
    const other = stuckAt.get(slotSm[slot] ?? -1);
    if (other === undefined) continue;
    const done = other.step > epoch - 1 || (other.step === epoch - 1 && other.slot > slot);
    if (!done) blamed.add(other.sm);
  }
  return [...blamed];
}

function explain(
  model: Model,
  stuck: readonly Stuck[],
  kinds: readonly StepKind[],
  law: LawBook,
): void {
  const { plan, slotTask } = model;
  const stuckAt = new Map(stuck.map((at) => [at.sm, at]));
  const graph = new Graph({ directed: true });
  for (const at of stuck) {
    const blamed = blames(model, at, stuckAt, kinds);
    graph.setNode(String(at.sm));
    for (const sm of blamed) graph.setEdge(String(at.sm), String(sm));
    if (blamed.length > 0) continue;
    const task = slotTask[at.slot] ?? -1;
    law.violate(
      `${describeTask(plan, task)} waits forever in step ${at.step} for ` +
        `${awaited(plan, at)}: expected ${at.expected}, seen ${at.seen}, ` +
        `and no trigger is left to come`,
      [taskLine(plan, task)],
      { kind: "deadlock", kinds, waiting: [waitingAt(model, at)] },
    );
  }
  const cycles = alg.findCycles(graph).sort((a, b) => a.length - b.length);
  const [cycle] = cycles;
  if (cycle === undefined) return;
  const ring = shortestCycle(graph, cycle);
  const waiting = ring.flatMap((sm) => stuckAt.get(Number(sm)) ?? []);
  const lines = waiting.map((at) =>
    taskLine(
      plan, slotTask[at.slot] ?? -1,
      at.poll !== null
        ? `in step ${at.step} polls ${valueName(plan, at.poll.value)}`
        : `in step ${at.step} needs ${at.expected} of event ${at.event}, sees ${at.seen}`,
    ),
  );
  const names = waiting.map((at) => describeTask(plan, slotTask[at.slot] ?? -1));
  law.violate(`each waits for the next, the last for the first: ${names.join("; ")}`, lines, {
    kind: "deadlock", kinds, waiting: waiting.map((at) => waitingAt(model, at)),
  });
}

function waitingAt({ plan }: Model, { sm, slot, step, event, expected, seen }: Stuck): Waiting {
  const place = slot - (plan.order.start[sm] ?? 0);
  return { sm, place, step, entering: false, event, expected, seen };
}

function awaited(plan: Plan, { event, poll }: Stuck): string {
  if (poll === null) return describeEvent(plan, event);
  return `words of ${valueName(plan, poll.value)}`;
}

/** A cycle without detours through the nodes of a strongly connected component. */
function shortestCycle(graph: Graph, component: readonly string[]): readonly string[] {
  const inside = new Set(component);
  let best = component;
  for (const start of component) {
    const from = new Map<string, string>();
    const queue = [start];
    for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
      for (const next of (graph.successors(node) ?? []).filter((to) => inside.has(to))) {
        if (next === start) {
          const path = [node];
          for (let at = from.get(node); at !== undefined; at = from.get(at)) path.unshift(at);
          if (path.length < best.length) best = path;
          queue.length = 0;
          break;
        }
        if (from.has(next) || next === start) continue;
        from.set(next, node);
        queue.push(next);
      }
    }
    if (best.length <= 2) break;
  }
  return best;
}

/**
 * The producer of an SM's stream waits only for stages to be released. Consumers take chunks in
 * the order of issue (law 5), each releasing its stage, so with at least one stage the ring moves
 * on whatever the activations do; it stops for good only where chunks are awaited and none come.
 */
function checkRing(model: Model, law: LawBook): void {
  const { plan } = model;
  plan.streams.forEach((segments, sm) => {
    law.count("rings");
    if (segments.some(({ chunks }) => chunks > 0)) return;
    const slots = plan.order.items.subarray(plan.order.start[sm], plan.order.start[sm + 1]);
    const task = slots.find((id) => (plan.layouts[plan.tasks.op[id] ?? -1] ?? null) !== null);
    if (task === undefined) return;
    law.violate(`${describeTask(plan, task)} waits for chunks, but the SM's stream is empty`, [
      taskLine(plan, task),
    ]);
  });
}
