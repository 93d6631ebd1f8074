/** @file The tables in the emitted text say what the Plan says, task by task. */
import type { IdLists, Plan } from "@mpk/schedule";
import { toyTable } from "@mpk/schedule/testing";
import { scheduleTable } from "@mpk/ops";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Emitted } from "../src/index.ts";
import { decoderPlans, emitReal } from "./emitted/decoders.ts";
import { bodiesOf, constantOf, tableOf, tasksOf } from "./emitted/source.ts";
import { emitToy, toyBodies, toyPlans } from "./emitted/toy.ts";

const idsOf = ({ start, items }: IdLists, i: number): number[] =>
  Array.from(items.subarray(start[i], start[i + 1]));

/** Each SM's tasks as the Plan has them, but for what the emitter decides. */
function planned(plan: Plan) {
  const { tasks, events } = plan;
  return Array.from({ length: plan.machine.sms }, (_, sm) =>
    idsOf(plan.order, sm).map((task) => ({
      op: tasks.op[task],
      tileLo: tasks.tileLo[task],
      tileHi: tasks.tileHi[task],
      waits: idsOf(plan.waits, task).map((event) => ({
        event, threshold: events.threshold[event], crossStep: events.crossStep[event] === 1,
        manyOnly: events.manyOnly[event] === 1,
      })),
      signals: idsOf(plan.signals, task),
    })),
  );
}

function expectTables(plan: Plan, { source }: Emitted, kinds: (kind: string) => boolean): void {
  const lists = [...tasksOf(source)];
  const bodies = bodiesOf(source);
  const decoded = lists.map((list) =>
    list.map(({ op, tileLo, tileHi, waits, signals }) => ({ op, tileLo, tileHi, waits, signals })),
  );
  expect(decoded).toEqual(planned(plan));
  const numbers = new Map<number, number>();
  for (const { body, op, operands } of lists.flat()) {
    const { kind, inputs, outputs, states } = plan.program.ops[op]!;
    expect(operands).toHaveLength(inputs.length + outputs.length + states.length);
    expect(numbers.get(op) ?? body).toBe(body);
    numbers.set(op, body);
    expect(body).toBeLessThan(bodies.length);
    expect(kinds(kind)).toBe(true);
  }
  // Every body is some task's.
  expect(new Set(numbers.values()).size).toBe(bodies.length);
}

/** What the producer copies, SM by SM and task by task, against the Plan's streams. */
function expectStreams(plan: Plan, { source, manifest }: Emitted): void {
  const tileChunks = tableOf(source, "kBodyTileChunks");
  const chunkBytes = tableOf(source, "kBodyChunkBytes");
  const base = tableOf(source, "kStreamBase");
  expect(base).toHaveLength(plan.machine.sms);
  [...tasksOf(source)].forEach((list, sm) => {
    let offsetBytes = 0;
    const copied = list.flatMap(({ body, tileLo, tileHi }, i) => {
      const chunks = (tileHi - tileLo) * tileChunks[body]!;
      if (chunks === 0) return [];
      const task = plan.order.items[plan.order.start[sm]! + i]!;
      const segment = { task, offsetBytes, chunks, chunkBytes: chunkBytes[body]! };
      offsetBytes += chunks * segment.chunkBytes;
      return [segment];
    });
    expect(copied).toEqual(plan.streams[sm]);
    const end = base[sm + 1] ?? manifest.memory.streamBytes;
    expect(base[sm]! + offsetBytes).toBeLessThanOrEqual(end);
    expect(base[sm]! % 128).toBe(0);
  });
}

describe("toy programs", () => {
  test("instructions are the Plan's tasks: order, tiles, waits, thresholds, signals", () => {
    fc.assert(
      fc.property(toyPlans({ maxOps: 12 }), (plan) => {
        expectTables(plan, emitToy(plan), (kind) => toyBodies.has(kind));
      }),
      { numRuns: 100 },
    );
  });

  test("so they are where a task has several waits and signals", () => {
    const more = fc.array(fc.nat(), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(toyPlans(), fc.infiniteStream(more), (toy, lists) => {
        const grow = (ids: IdLists): IdLists => {
          const start = [0];
          const items = Array.from({ length: toy.tasks.count }, (_, task) => {
            const added = (lists.next().value ?? []).map((n: number) => n % toy.events.count);
            const all = [...idsOf(ids, task), ...added];
            start.push((start.at(-1) ?? 0) + all.length);
            return all;
          });
          return { start: Int32Array.from(start), items: Int32Array.from(items.flat()) };
        };
        const plan: Plan = { ...toy, waits: grow(toy.waits), signals: grow(toy.signals) };
        expectTables(plan, emitToy(plan), (kind) => toyBodies.has(kind));
      }),
      { numRuns: 40 },
    );
  });

  test("chunks are those of the Plan's streams", () => {
    fc.assert(
      fc.property(toyPlans({ maxOps: 12 }), (plan) => {
        expectStreams(plan, emitToy(plan));
      }),
      { numRuns: 100 },
    );
  });
});

describe("decoders", () => {
  test("instructions are the Plan's tasks, and chunks those of its streams", () => {
    fc.assert(
      fc.property(decoderPlans, (plan) => {
        const emitted = emitReal(plan);
        expectTables(plan, emitted, (kind) => scheduleTable.has(kind));
        expectStreams(plan, emitted);
      }),
      { numRuns: 60 },
    );
  });

  test("an op's body is one that was made for its kind", () => {
    const shared: Record<string, string> = {
      cast: "elements", concat: "elements", embedding: "elements", pointwise: "elements",
      rmsNorm: "row_op", layerNorm: "row_op", softmax: "row_op", blockMax: "block_max",
    };
    fc.assert(
      fc.property(decoderPlans, (plan) => {
        const { source } = emitReal(plan);
        const bodies = bodiesOf(source);
        for (const { body, op } of [...tasksOf(source)].flat()) {
          const { kind } = plan.program.ops[op]!;
          expect(bodies[body]!.run).toBe(shared[kind] ?? kind);
        }
        expect(new Set(bodies.map(({ run, text, struct }) => run + text.replace(struct, ""))).size)
          .toBe(bodies.length);
      }),
      { numRuns: 60 },
    );
  });
});

test("the step's event is the one that the choosing task signals for the next step", () => {
  fc.assert(
    fc.property(toyPlans(), (plan) => {
      const { source } = emitToy(plan);
      const event = constantOf(source, "kStepEvent");
      const chooses = (op: number): boolean =>
        toyTable.get(plan.program.ops[op]!.kind)!.semantics.traits.effect;
      const signalling = [...tasksOf(source)].flat().filter((t) => t.signals.includes(event));
      expect(signalling.map(({ op }) => chooses(op))).toEqual([true]);
      expect(plan.events.crossStep[event]).toBe(1);
      expect(plan.events.threshold[event]).toBe(1);
      // Every SM with work waits for it before anything else: it reads the step's tokens then.
      for (const list of tasksOf(source)) {
        const opening = list[0]?.waits.filter(({ crossStep }) => crossStep) ?? [];
        if (list.length > 0) expect(opening.map((wait) => wait.event)).toContain(event);
      }
    }),
    { numRuns: 50 },
  );
});

test("constants are the Plan's ring and limits", () => {
  fc.assert(
    fc.property(toyPlans(), (plan) => {
      const { source, manifest } = emitToy(plan);
      const { ring, program } = plan;
      const work = ring.activationBytes + 2 * ring.partialBytes;
      const expected = {
        kStages: ring.stages, kStageBytes: ring.stageBytes, kMaxInFlight: ring.maxInFlight,
        kConsumerWarps: ring.consumerWarps, kThreads: manifest.launch.threads,
        kActivationBytes: ring.activationBytes, kPartialBytes: ring.partialBytes, kWorkBytes: work,
        kMaxTokens: program.limits.maxTokens, kMaxContext: program.limits.maxContext,
        kPages: plan.pages, kPageTokens: plan.pageTokens, kVocab: manifest.limits.vocab,
      };
      for (const [name, value] of Object.entries(expected)) {
        expect([name, constantOf(source, name)]).toEqual([name, value]);
      }
      const reserve = constantOf(source, "kSharedReserve");
      expect(manifest.launch.sharedBytes).toBe(ring.stages * ring.stageBytes + work + reserve);
      // Events of the Plan, and the word by which SMs tell each other to give up.
      expect(manifest.memory.eventBytes)
        .toBe((plan.events.count + 1) * constantOf(source, "kEventStride"));
    }),
    { numRuns: 50 },
  );
});
