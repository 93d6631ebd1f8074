/**
 * @file Plants faults in a kernel on a GPU and checks how they end: node bench/faults.ts CHECKPOINT
 *
 * A lost signal must end in the watchdog's report, naming op and event, with the GPU usable; an
 * abort must end the launch after the current step. Prints a line per check; exit code 1 on any
 * failure.
 */
import { compile } from "@mpk/compiler";
import { emit } from "@mpk/cuda";
import { bodyTable, scheduleTable } from "@mpk/ops";
import { openCuda, openWeights, sessionOver, type Session } from "@mpk/runtime";
import type { Plan } from "@mpk/schedule";

const [checkpoint] = process.argv.slice(2);
if (checkpoint === undefined) throw new Error("name a checkpoint folder");
const target = "sm_90a";
const { plan } = await compile(checkpoint, { target });
const weights = await openWeights(checkpoint);

async function withPlan<T>(changed: Plan, work: (session: Session) => Promise<T>): Promise<T> {
  const { source, manifest } = emit(changed, scheduleTable, bodyTable, { target });
  const options = { source, manifest, weights, watchdogNanos: 1_000_000_000n };
  const backend = await openCuda(options);
  const session = sessionOver(backend, manifest.limits, []);
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

const promptIds = [0, 11, 12, 13];
async function generate(session: Session, maxTokens: number, signal?: AbortSignal) {
  const request = { promptIds, maxTokens, ...(signal === undefined ? {} : { signal }) };
  const generation = session.generate(request);
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  return { tokens, finish: generation.summary().finish };
}

/** The plan without the signal of the middle task of an op. */
function loseSignal(kind: string, scope: string): Plan {
  const op = plan.program.ops.findIndex((o) => o.kind === kind && o.scope.startsWith(scope));
  const tasks = Array.from(plan.tasks.op.keys()).filter((task) => plan.tasks.op[task] === op);
  const lost = tasks[tasks.length >> 1] ?? 0;
  const at = plan.signals.start[lost] ?? 0;
  const count = (plan.signals.start[lost + 1] ?? 0) - at;
  const items = Array.from(plan.signals.items);
  items.splice(at, count);
  const start = plan.signals.start.map((value, i) => (i > lost ? value - count : value));
  return { ...plan, signals: { start, items: Int32Array.from(items) } };
}

let failures = 0;
function check(name: string, good: boolean, seen: string): void {
  console.log(`${good ? "ok  " : "FAIL"} ${name}: ${seen}`);
  if (!good) failures++;
}

const expected = await withPlan(plan, (session) => generate(session, 20));
for (const [kind, scope] of [["attention", "layers.1"], ["linear", "layers.0.mlp"]] as const) {
  const began = performance.now();
  const message = await withPlan(loseSignal(kind, scope), async (session) => {
    const error: unknown = await generate(session, 20).catch((e: unknown) => e);
    return error instanceof Error ? error.message : "no error";
  });
  const seconds = (performance.now() - began) / 1e3;
  const good = /SM \d+/.test(message) && /layers\.\d/.test(message);
  check(`lost signal of ${kind} in ${scope}`, good, `${message} (${seconds.toFixed(1)} s)`);
}
const after = await withPlan(plan, (session) => generate(session, 20));
const same = after.tokens.join() === expected.tokens.join();
check("the GPU answers as before", same, after.tokens.join(" "));
await withPlan(plan, async (session) => {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 5);
  const { tokens, finish } = await generate(session, 400, stop.signal);
  const stopped = finish === "stopped" && tokens.length < 400;
  check("an abort ends the launch", stopped, `${finish} after ${tokens.length} tokens`);
  const again = await generate(session, 20);
  check("the next prompt is right", again.tokens.join() === expected.tokens.join(), again.finish);
});
// An impossible token id would read outside the embedding table: the session refuses it.
await withPlan(plan, async (session) => {
  const request = { promptIds: [session.limits.vocab], maxTokens: 1 };
  const refused = (() => {
    try {
      session.generate(request);
      return "accepted";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  })();
  check("a token outside the vocabulary", refused.includes("outside the vocabulary"), refused);
});
weights.close();
process.exitCode = failures === 0 ? 0 : 1;
