/**
 * @file Whether an emitted text says what the Plan says: the tables that the kernel walks are read
 * back out of the text, as the kernel reads them, and compared task by task and chunk by chunk.
 */
import type { Plan, ScheduleTable } from "@mpk/schedule";
import { renderBodies } from "./bodies.ts";
import type { BodyTable } from "./body.ts";
import type { Emitted } from "./emit.ts";
import { idsOf, operandWords } from "./encode.ts";
import { layoutMemory } from "./memory.ts";
import { constantOf, spareLinears, tableOf, tasksOf, type EmittedTask } from "./readback.ts";

/** More of the same tell nothing new. */
const mostProblems = 20;

/**
 * Everything in which the emitted text differs from the Plan, as sentences; none where it agrees.
 * `table` and `bodyTable` are those that it was emitted with.
 */
export function emittedProblems(
  plan: Plan,
  emitted: Emitted,
  table: ScheduleTable,
  bodyTable: BodyTable,
): readonly string[] {
  const problems: string[] = [];
  const say = (text: string): void => {
    if (problems.length < mostProblems) problems.push(text);
  };
  try {
    checkConstants(plan, emitted, say);
    checkFlags(plan, emitted, say);
    const lists = [...tasksOf(emitted.source, plan.tasks.count)];
    const { sms } = plan.machine;
    if (lists.length !== sms) say(`there are lists of ${lists.length} SMs, the plan has ${sms}`);
    const memory = layoutMemory(plan);
    const { bodyOf } = renderBodies(plan, table, bodyTable, emitted.manifest.limits.vocab);
    const ops = plan.program.ops.map((_, op) => ({
      body: bodyOf[op] ?? -1, operands: operandWords(plan, op, memory),
    }));
    for (let sm = 0; sm < sms; sm++) checkTasks(plan, sm, lists[sm] ?? [], ops, say);
    checkStreams(plan, lists, emitted, say);
    checkSpares(lists, emitted, say);
  } catch (error) {
    // A text that cannot be read back is no text of this plan.
    say(error instanceof Error ? error.message : String(error));
  }
  return problems;
}

type Say = (text: string) => void;

function checkConstants(plan: Plan, { source, manifest }: Emitted, say: Say): void {
  const { ring, program, events } = plan;
  const expected = {
    kStages: ring.stages, kStageBytes: ring.stageBytes, kMaxInFlight: ring.maxInFlight,
    kConsumerWarps: ring.consumerWarps, kActivationBytes: ring.activationBytes,
    kPartialBytes: ring.partialBytes, kMaxTokens: program.limits.maxTokens,
    kMaxContext: program.limits.maxContext, kPages: plan.pages, kPageTokens: plan.pageTokens,
  };
  for (const [name, value] of Object.entries(expected)) {
    const got = constantOf(source, name);
    if (got !== value) say(`${name} is ${got}, the plan says ${value}`);
  }
  // The abort word, then a counter each; the host clears them all before a launch.
  const stride = constantOf(source, "kEventStride");
  const bytes = (events.count + 1) * stride;
  if (manifest.memory.eventBytes !== bytes) {
    say(`${manifest.memory.eventBytes} bytes of counters are cleared, ${bytes} are used`);
  }
  const event = constantOf(source, "kStepEvent");
  if (events.crossStep[event] !== 1) say(`kStepEvent is event ${event}, which opens no step`);
}

/** The host clears the copies of flagged values, and nothing else, before a launch. */
function checkFlags({ flags }: Plan, { source, manifest }: Emitted, say: Say): void {
  const cleared = manifest.memory.flags;
  const [start, bytes] = [cleared?.offsetBytes ?? 0, cleared?.bytes ?? 0];
  if (flags.value.length > 0 && constantOf(source, "kFlagCopyBytes") !== flags.copyBytes) {
    say(`kFlagCopyBytes is not ${flags.copyBytes}, the bytes of a copy of the flagged values`);
  }
  if (start === flags.startBytes && bytes === 2 * flags.copyBytes) return;
  say(
    `${bytes} bytes from ${start} on are cleared for flagged values, the plan has ` +
      `${2 * flags.copyBytes} from ${flags.startBytes} on`,
  );
}

function checkTasks(
  plan: Plan,
  sm: number,
  list: readonly EmittedTask[],
  ops: readonly { readonly body: number; readonly operands: Uint32Array }[],
  say: Say,
): void {
  const { tasks, events } = plan;
  const order = idsOf(plan.order, sm);
  if (list.length !== order.length) {
    say(`SM ${sm} has ${list.length} instructions, the plan gives it ${order.length} tasks`);
  }
  order.forEach((task, i) => {
    const op = tasks.op[task] ?? -1;
    const planned = [
      op, ops[op]?.body, tasks.tileLo[task], tasks.tileHi[task],
      ...[...idsOf(plan.waits, task)].flatMap((event) => [
        event, events.threshold[event], events.crossStep[event], events.manyOnly[event],
      ]),
      -1, ...idsOf(plan.signals, task),
      -1, ...idsOf(plan.signals, task).filter((event) => events.manyOnly[event] === 1),
      -1, ...(ops[op]?.operands ?? []),
    ];
    const got = list[i];
    const emitted = got === undefined ? [] : [
      got.op, got.body, got.tileLo, got.tileHi,
      ...got.waits.flatMap((wait) => [
        wait.event, wait.threshold, Number(wait.crossStep), Number(wait.manyOnly),
      ]),
      -1, ...got.signals, -1, ...got.manyOnlySignals, -1, ...got.operands,
    ];
    if (planned.length === emitted.length && planned.every((x, at) => x === emitted[at])) return;
    say(
      `SM ${sm}, instruction ${i}: the plan has task ${task}, ${planned.join(" ")} (op, body, tiles, ` +
        `waits, signals, many-only signals, operands); the text has ${emitted.join(" ")}`,
    );
  });
}

/** A linear without text to wait or signal in steps of one token must have no such instruction. */
function checkSpares(
  lists: readonly (readonly EmittedTask[])[],
  { source }: Emitted,
  say: Say,
): void {
  const spare = spareLinears(source);
  lists.forEach((list, sm) => {
    list.forEach(({ body, waits, signals, manyOnlySignals }, i) => {
      const has = spare.get(body);
      if (has === undefined) return;
      if (!has.waits && waits.some(({ manyOnly }) => !manyOnly)) {
        say(`SM ${sm}, instruction ${i} waits; in steps of one token body ${body} has no text for that`);
      }
      if (!has.signals && signals.length > manyOnlySignals.length) {
        say(`SM ${sm}, instruction ${i} signals; in steps of one token body ${body} has no text for that`);
      }
    });
  });
}

/** What the producer copies: by body, the chunks of a tile and their bytes. */
function checkStreams(
  plan: Plan,
  lists: readonly (readonly EmittedTask[])[],
  { source, manifest }: Emitted,
  say: Say,
): void {
  const tileChunks = tableOf(source, "kBodyTileChunks");
  const chunkBytes = tableOf(source, "kBodyChunkBytes");
  const base = tableOf(source, "kStreamBase");
  let end = 0;
  plan.streams.forEach((segments, sm) => {
    const start = base[sm] ?? -1;
    if (start < end) say(`the stream of SM ${sm} starts at ${start}, within another's`);
    const planned = segments.flatMap((segment) => [
      segment.task, segment.chunks, segment.chunkBytes, segment.offsetBytes,
    ]);
    let offset = 0;
    const copied = (lists[sm] ?? []).flatMap(({ body, tileLo, tileHi }, i) => {
      const chunks = (tileHi - tileLo) * (tileChunks[body] ?? 0);
      const bytes = chunkBytes[body] ?? 0;
      if (chunks === 0) return [];
      const at = offset;
      offset += chunks * bytes;
      return [idsOf(plan.order, sm)[i] ?? -1, chunks, bytes, at];
    });
    end = start + offset;
    if (planned.length === copied.length && planned.every((x, at) => x === copied[at])) return;
    say(`SM ${sm}: the producer copies other chunks than the plan streams`);
  });
  if (end > manifest.memory.streamBytes) {
    say(`streams end at byte ${end} of an image of ${manifest.memory.streamBytes}`);
  }
}
