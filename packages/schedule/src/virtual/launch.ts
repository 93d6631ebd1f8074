/**
 * @file One launch: every SM walks its order, waiting for counters, in a seeded interleaving.
 * Steps follow one another inside; an effect op's result opens the next.
 */
import { describeTask } from "../verify/report.ts";
import { createTaskContext } from "./context.ts";
import type { Memory, StepDescriptor } from "./context.ts";
import { VirtualGpuError } from "./errors.ts";
import { createRing } from "./ring.ts";
import type { Ring } from "./ring.ts";
import type { PackedWeights } from "./packed.ts";
import type { Random } from "./random.ts";

export interface LaunchOptions {
  readonly memory: Memory;
  readonly streams: PackedWeights["streams"];
  readonly first: StepDescriptor;
  /** SMs leave after this many steps, whatever the descriptor says. */
  readonly maxSteps: number;
  /** Null: SMs run in turn, each as far as it can. */
  readonly random: Random | null;
  /** An effect op has finished in `step`; the descriptor of the next step. */
  onEffect(step: number, op: number, now: StepDescriptor): StepDescriptor;
}

interface Sm {
  readonly id: number;
  readonly ring: Ring;
  slot: number;
  step: number;
  /** The last step whose descriptor it has read. */
  entered: number;
  /** Waits of the current task that are over. */
  waited: number;
  descriptor: StepDescriptor | null;
  body: Generator<void, void, void> | null;
}

/** Runs one turn at a time; false once every SM has left. Throws `VirtualGpuError` on a hang. */
export function createLaunch(options: LaunchOptions): () => boolean {
  const { memory, random } = options;
  const { plan, nodes } = memory;
  const { order, waits, signals, events, tasks } = plan;
  const counters = new Int32Array(events.count);
  // Two descriptors take turns, as in the kernel.
  const descriptors: (StepDescriptor | null)[] = [options.first, null];
  const sms: Sm[] = options.streams.map((image, id) => ({
    id, ring: createRing(plan.ring, image, random), slot: order.start[id] ?? 0, step: 0,
    entered: -1, waited: 0, descriptor: null, body: null,
  }));
  const runnable = sms.filter(({ id }) => order.start[id] !== order.start[id + 1]);
  const parked = new Set<Sm>();
  const pick = turns(runnable, random);

  const target = (sm: Sm, event: number): number =>
    (events.threshold[event] ?? 0) * (sm.step + (events.crossStep[event] === 1 ? 0 : 1));
  const pendingEvent = (sm: Sm): number | null => {
    const task = order.items[sm.slot] ?? -1;
    const at = (waits.start[task] ?? 0) + sm.waited;
    return at < (waits.start[task + 1] ?? 0) ? (waits.items[at] ?? -1) : null;
  };
  const fail = (sm: Sm, error: unknown): VirtualGpuError => {
    if (error instanceof VirtualGpuError && error.hang !== null) return error;
    const task = order.items[sm.slot] ?? -1;
    const reason = error instanceof Error ? error.message : String(error);
    return new VirtualGpuError(`${describeTask(plan, task)}, step ${sm.step}: ${reason}`, null, {
      cause: error,
    });
  };

  const start = (sm: Sm): void => {
    const task = order.items[sm.slot] ?? -1;
    const node = nodes[tasks.op[task] ?? -1];
    if (sm.descriptor === null) throw new Error("reads a step descriptor that nobody has written");
    if (node === undefined) throw new Error("runs an op that does not exist");
    const layout = plan.layouts[node.index] ?? null;
    const tiles = (tasks.tileHi[task] ?? 0) - (tasks.tileLo[task] ?? 0);
    if (layout !== null) sm.ring.open(tiles * layout.chunksPerTile);
    const context = createTaskContext(memory, task, sm.descriptor, sm.ring, () => streamHang(sm));
    sm.body = node.cls.schedule.task(node.cls.instance, layout, context);
  };
  const streamHang = (sm: Sm): VirtualGpuError => {
    const task = order.items[sm.slot] ?? -1;
    const left = sm.ring.left();
    return new VirtualGpuError(
      `${describeTask(plan, task)}, step ${sm.step}: hangs waiting for a chunk of its stream`,
      { sm: sm.id, task, step: sm.step, event: null, expected: left, seen: 0 },
    );
  };

  const finish = (sm: Sm): void => {
    const task = order.items[sm.slot] ?? -1;
    const op = tasks.op[task] ?? -1;
    if (sm.ring.left() > 0) throw new Error(`left ${sm.ring.left()} chunks of its stream untaken`);
    const isEffect = nodes[op]?.cls.schedule.semantics.traits.effect === true;
    if (isEffect && sm.descriptor !== null) {
      descriptors[(sm.step + 1) & 1] = options.onEffect(sm.step, op, sm.descriptor);
    }
    for (let i = signals.start[task] ?? 0; i < (signals.start[task + 1] ?? 0); i++) {
      const event = signals.items[i] ?? -1;
      counters[event] = (counters[event] ?? 0) + 1;
      for (const waiter of parked) {
        if (pendingEvent(waiter) !== event) continue;
        if ((counters[event] ?? 0) < target(waiter, event)) continue;
        parked.delete(waiter);
        runnable.push(waiter);
      }
    }
    sm.body = null;
    sm.waited = 0;
    sm.slot++;
    if (sm.slot === order.start[sm.id + 1]) {
      sm.slot = order.start[sm.id] ?? 0;
      sm.step++;
    }
  };

  const leave = (sm: Sm): void => {
    const at = runnable.indexOf(sm);
    runnable[at] = runnable[runnable.length - 1] as Sm;
    runnable.pop();
  };

  const turn = (sm: Sm): void => {
    if (sm.body !== null) {
      if (sm.body.next().done === true) finish(sm);
      return;
    }
    if (sm.step >= options.maxSteps) return leave(sm);
    const event = pendingEvent(sm);
    // Once the previous step is over the descriptor is read: it may say that there is no next one.
    if (sm.entered < sm.step && (event === null || events.crossStep[event] === 0)) {
      sm.entered = sm.step;
      sm.descriptor = descriptors[sm.step & 1] ?? null;
      if (sm.descriptor?.stop === true) leave(sm);
    } else if (event === null) {
      start(sm);
    } else if ((counters[event] ?? 0) >= target(sm, event)) {
      sm.waited++;
    } else {
      leave(sm);
      parked.add(sm);
    }
  };

  return () => {
    if (runnable.length === 0) {
      const [waiter] = parked;
      if (waiter === undefined) return false;
      const event = pendingEvent(waiter) ?? -1;
      const task = order.items[waiter.slot] ?? -1;
      const [expected, seen] = [target(waiter, event), counters[event] ?? 0];
      throw new VirtualGpuError(
        `${describeTask(plan, task)}, step ${waiter.step}: hangs waiting for event ${event}, ` +
          `expected ${expected}, seen ${seen}`,
        { sm: waiter.id, task, step: waiter.step, event, expected, seen },
      );
    }
    const sm = pick();
    try {
      turn(sm);
    } catch (error) {
      throw fail(sm, error);
    }
    return true;
  };
}

/**
 * Whose turn it is. Random runs differ in how long one SM keeps the turn and in which SM is
 * starved: races hide from even-handed interleavings.
 */
function turns(runnable: readonly Sm[], random: Random | null): () => Sm {
  let current = runnable[0] as Sm;
  const keep = [0, 0.5, 0.9, 0.99][random?.below(4) ?? 0] ?? 0;
  const most = Math.max(1, runnable.length);
  let starved = random?.below(most) ?? 0;
  return () => {
    if (random === null) {
      current = runnable[runnable.length - 1] as Sm;
      return current;
    }
    if (random.next() < 0.005) starved = random.below(most);
    const isOut = !runnable.includes(current);
    if (isOut || random.next() >= keep) {
      // Two draws avoid the starved SM nearly always; it still runs when it is alone.
      current = runnable[random.below(runnable.length)] as Sm;
      if (current.id === starved) current = runnable[random.below(runnable.length)] as Sm;
    }
    return current;
  };
}
