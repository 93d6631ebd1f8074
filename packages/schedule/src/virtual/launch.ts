/**
 * @file One launch: every SM walks its order, waiting for counters, in a seeded interleaving.
 * Steps follow one another inside; an effect op's result opens the next.
 */
import type { Plan } from "../plan.ts";
import { describeTask } from "../verify/report.ts";
import type { Block } from "./arena.ts";
import { createTaskContext, polledBlocks } from "./context.ts";
import type { Memory, StepDescriptor, Turn } from "./context.ts";
import { VirtualGpuError } from "./errors.ts";
import type { HangReport } from "./errors.ts";
import { Ring } from "./ring.ts";
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
  /** Steps of several tokens that it has entered before the current one. */
  manySteps: number;
  descriptor: StepDescriptor | null;
  body: Generator<void, void, void> | null;
}

/** An SM that a broken plan lets run ahead of the token choice would never end. */
const mostStepsAhead = 4;

export class Launch {
  readonly #options: LaunchOptions;
  readonly #counters: Int32Array;
  /** Two descriptors take turns, as in the kernel. */
  readonly #descriptors: (StepDescriptor | null)[];
  readonly #runnable: Sm[];
  readonly #parked = new Set<Sm>();
  /** SMs that poll words of flagged values, and which of them are missing. */
  readonly #polling = new Map<Sm, readonly Block[]>();
  readonly #pick: () => Sm;
  #opened = 0;
  #seenWrites = 0;

  constructor(options: LaunchOptions) {
    const { plan } = options.memory;
    const { order, ring, events } = plan;
    this.#options = options;
    this.#counters = new Int32Array(events.count);
    options.memory.arena.clearCopies();
    this.#descriptors = [options.first, null];
    const sms = options.streams.map((image, id): Sm => ({
      id, ring: new Ring(ring, image, options.random), slot: order.start[id] ?? 0, step: 0,
      entered: -1, waited: 0, manySteps: 0, descriptor: null, body: null,
    }));
    this.#runnable = sms.filter(({ id }) => order.start[id] !== order.start[id + 1]);
    this.#pick = turns(this.#runnable, options.random);
  }

  /** Runs one turn of one SM; false once every SM has left. Throws `VirtualGpuError` on a hang. */
  advance(): boolean {
    if (this.#runnable.length === 0) {
      const [waiter] = this.#parked;
      const [poller] = this.#polling;
      if (waiter !== undefined) throw this.#eventHang(waiter);
      if (poller !== undefined) throw this.#pollHang(...poller);
      return false;
    }
    const sm = this.#pick();
    try {
      this.#turn(sm);
    } catch (error) {
      throw this.#failure(sm, error);
    }
    return true;
  }

  #turn(sm: Sm): void {
    if (sm.body !== null) {
      if (sm.body.next().done === true) this.#finish(sm);
      this.#wakePollers();
      return;
    }
    if (sm.step >= this.#options.maxSteps) return this.#leave(sm);
    const event = this.#pendingEvent(sm);
    const isWithin = event === null || this.#plan.events.crossStep[event] === 0;
    // Once the previous step is over the descriptor is read: it may say that there is no next one.
    if (sm.entered < sm.step && isWithin) {
      if (sm.step > this.#opened + mostStepsAhead) throw new Error("runs ahead without end");
      if (!this.#isOne(sm)) sm.manySteps++;
      sm.entered = sm.step;
      sm.descriptor = this.#descriptors[sm.step & 1] ?? null;
      if (sm.descriptor?.stop === true) this.#leave(sm);
    } else if (event === null) {
      this.#startOrPoll(sm);
    } else if (this.#isIdle(sm, event)) {
      sm.waited++;
    } else if ((this.#counters[event] ?? 0) >= this.#target(sm, event)) {
      sm.waited++;
    } else {
      this.#leave(sm);
      this.#parked.add(sm);
    }
  }

  /** In a step of one token. */
  #isOne(sm: Sm): boolean {
    return sm.descriptor === null || sm.descriptor.ids.length === 1;
  }

  /** A many-only event in a step of one token. */
  #isIdle(sm: Sm, event: number): boolean {
    return this.#plan.events.manyOnly[event] === 1 && this.#isOne(sm);
  }

  #startOrPoll(sm: Sm): void {
    const { memory } = this.#options;
    if (sm.descriptor === null) throw new Error("reads a step descriptor that nobody has written");
    // Copies take turns over the steps of one token.
    const copy = ((sm.step - sm.manySteps) & 1) === 0 ? 0 : 1;
    const turn = { task: this.#task(sm), step: sm.descriptor, copy } as const;
    const missing = polledBlocks(memory, turn).filter((block) => !memory.arena.isPresent(block));
    if (missing.length === 0) return this.#start(sm, turn);
    this.#leave(sm);
    this.#polling.set(sm, missing);
  }

  #wakePollers(): void {
    const { arena } = this.#options.memory;
    if (arena.copyWrites() === this.#seenWrites) return;
    this.#seenWrites = arena.copyWrites();
    for (const [poller, missing] of this.#polling) {
      if (!missing.every((block) => arena.isPresent(block))) continue;
      this.#polling.delete(poller);
      this.#runnable.push(poller);
    }
  }

  #start(sm: Sm, turn: Turn): void {
    const { memory } = this.#options;
    const { tasks, layouts } = this.#plan;
    const { task } = turn;
    const node = memory.nodes[tasks.op[task] ?? -1];
    if (node === undefined) throw new Error("runs an op that does not exist");
    const layout = layouts[node.index] ?? null;
    const tiles = (tasks.tileHi[task] ?? 0) - (tasks.tileLo[task] ?? 0);
    if (layout !== null) sm.ring.open(tiles * layout.chunksPerTile);
    const onHang = (): VirtualGpuError => this.#streamHang(sm);
    const context = createTaskContext(memory, turn, sm.ring, onHang);
    sm.body = node.cls.schedule.task(node.cls.instance, layout, context);
  }

  #finish(sm: Sm): void {
    const { order, signals, tasks } = this.#plan;
    const task = this.#task(sm);
    const op = tasks.op[task] ?? -1;
    if (sm.ring.left() > 0) throw new Error(`left ${sm.ring.left()} chunks of its stream untaken`);
    const { traits } = this.#options.memory.nodes[op]?.cls.schedule.semantics ?? {};
    if (traits?.effect === true && sm.descriptor !== null) {
      const next = this.#options.onEffect(sm.step, op, sm.descriptor);
      this.#descriptors[(sm.step + 1) & 1] = next;
      this.#opened = Math.max(this.#opened, sm.step + 1);
    }
    for (let i = signals.start[task] ?? 0; i < (signals.start[task + 1] ?? 0); i++) {
      const event = signals.items[i] ?? -1;
      if (!this.#isIdle(sm, event)) this.#signal(event);
    }
    sm.body = null;
    sm.waited = 0;
    sm.slot++;
    if (sm.slot === order.start[sm.id + 1]) {
      sm.slot = order.start[sm.id] ?? 0;
      sm.step++;
    }
  }

  #signal(event: number): void {
    const count = (this.#counters[event] ?? 0) + 1;
    this.#counters[event] = count;
    for (const waiter of this.#parked) {
      if (this.#pendingEvent(waiter) !== event || count < this.#target(waiter, event)) continue;
      this.#parked.delete(waiter);
      this.#runnable.push(waiter);
    }
  }

  #leave(sm: Sm): void {
    const at = this.#runnable.indexOf(sm);
    this.#runnable[at] = this.#runnable[this.#runnable.length - 1] as Sm;
    this.#runnable.pop();
  }

  get #plan(): Plan {
    return this.#options.memory.plan;
  }

  #task(sm: Sm): number {
    return this.#plan.order.items[sm.slot] ?? -1;
  }

  /** The event that the SM's current task waits for next, or null. */
  #pendingEvent(sm: Sm): number | null {
    const { waits } = this.#plan;
    const task = this.#task(sm);
    const at = (waits.start[task] ?? 0) + sm.waited;
    return at < (waits.start[task + 1] ?? 0) ? (waits.items[at] ?? -1) : null;
  }

  #target(sm: Sm, event: number): number {
    const { threshold, crossStep, manyOnly } = this.#plan.events;
    const steps = manyOnly[event] === 1 ? sm.manySteps : sm.step;
    return (threshold[event] ?? 0) * (steps + (crossStep[event] === 1 ? 0 : 1));
  }

  #eventHang(sm: Sm): VirtualGpuError {
    const event = this.#pendingEvent(sm) ?? -1;
    const [expected, seen] = [this.#target(sm, event), this.#counters[event] ?? 0];
    return this.#hang(
      sm, { event, expected, seen }, `event ${event}, expected ${expected}, seen ${seen}`,
    );
  }

  #pollHang(sm: Sm, [block]: readonly Block[]): VirtualGpuError {
    const name = this.#plan.program.values[block?.value ?? -1]?.name ?? "a value";
    return this.#hang(
      sm, { event: null, expected: 1, seen: 0 }, `words of ${name}, columns ${block?.lo}..${block?.hi}`,
    );
  }

  #streamHang(sm: Sm): VirtualGpuError {
    const expected = sm.ring.left();
    return this.#hang(sm, { event: null, expected, seen: 0 }, "a chunk of its stream");
  }

  #hang(
    sm: Sm,
    report: Pick<HangReport, "event" | "expected" | "seen">,
    what: string,
  ): VirtualGpuError {
    const task = this.#task(sm);
    const where = `${describeTask(this.#plan, task)}, step ${sm.step}`;
    return new VirtualGpuError(`${where}: hangs waiting for ${what}`, {
      sm: sm.id, task, step: sm.step, ...report,
    });
  }

  #failure(sm: Sm, error: unknown): VirtualGpuError {
    if (error instanceof VirtualGpuError && error.hang !== null) return error;
    const where = `${describeTask(this.#plan, this.#task(sm))}, step ${sm.step}`;
    const reason = error instanceof Error ? error.message : String(error);
    return new VirtualGpuError(`${where}: ${reason}`, null, { cause: error });
  }
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
