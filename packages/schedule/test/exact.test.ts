/**
 * @file The verifier says neither too much nor too little of order: what it says of random broken
 * plans is compared with every pair of touches, each held back in turn while all else runs.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { verify } from "../src/index.ts";
import { conflictsOf, shareBytes } from "../src/counterexample/conflict.ts";
import { Stepper } from "../src/counterexample/stepper.ts";
import { flaggedPlans, mutatedPlans, mutationKinds, plans, toyTable } from "../src/testing/index.ts";
import { successions } from "../src/verify/execution.ts";
import type { StepKind } from "../src/verify/execution.ts";
import { buildModel } from "../src/verify/model.ts";
import type { Model } from "../src/verify/model.ts";

const steps = 3;
const unlimited = 2 ** 31 - 1;

/** A task in a step, or an SM's entering a step. */
interface Node {
  readonly kind: StepKind;
  readonly sm: number;
  readonly place: number;
  readonly step: number;
  readonly slot: number;
  readonly entering: boolean;
}

function nodesOf({ plan }: Model, kinds: readonly StepKind[]): readonly Node[] {
  const nodes: Node[] = [];
  for (let sm = 0; sm < plan.machine.sms; sm++) {
    const start = plan.order.start[sm]!;
    const length = plan.order.start[sm + 1]! - start;
    for (let step = 0; step < steps && length > 0; step++) {
      const kind = kinds[step] ?? kinds.at(-1) ?? "many";
      nodes.push({ kind, sm, place: 0, step, slot: start, entering: true });
      for (let place = 0; place < length; place++) {
        nodes.push({ kind, sm, place, step, slot: start + place, entering: false });
      }
    }
  }
  return nodes;
}

/** before[a][b]: b cannot begin while a is held back. */
function orderOf(
  model: Model,
  kinds: readonly StepKind[],
  nodes: readonly Node[],
): readonly (readonly boolean[])[] {
  return nodes.map((a) => {
    const stepper = new Stepper(model, steps, kinds);
    const limits = new Int32Array(model.plan.machine.sms).fill(unlimited);
    limits[a.sm] = stepper.index(a.sm, a.step, a.place, a.entering ? "enter" : "finish");
    stepper.exhaust(limits);
    return nodes.map((b) => {
      if (a === b) return false;
      const begin = stepper.index(b.sm, b.step, b.place, b.entering ? "enter" : "start");
      return stepper.made[b.sm]! <= begin;
    });
  });
}

function isStuck(model: Model, kinds: readonly StepKind[]): boolean {
  const stepper = new Stepper(model, steps, kinds);
  stepper.exhaust(new Int32Array(model.plan.machine.sms).fill(unlimited));
  return [...stepper.made.keys()].some((sm) => stepper.next(sm) !== null);
}

const meet = (a: { lo: number; hi: number }, b: { lo: number; hi: number }): boolean =>
  a.lo < b.hi && b.lo < a.hi;

/** A read that finds something else than what its step's writer wrote, or two writes unordered. */
function hasRace(model: Model, kinds: readonly StepKind[]): boolean {
  const nodes = nodesOf(model, kinds);
  const before = orderOf(model, kinds, nodes);
  const runsMix = successions(model.plan).length > 1;
  const isEffect = ({ slot, entering }: Node): boolean => {
    const op = model.plan.tasks.op[model.slotTask[slot]!]!;
    return !entering && model.ops[op]!.schedule.semantics.traits.effect;
  };
  const writes = ({ slot, entering }: Node) => (entering ? [] : model.writes(slot));
  return nodes.some((a, i) =>
    nodes.some((b, j) => {
      if (i === j) return false;
      // Writers of one value's columns come before its readers of the step, and no other write of
      // the same bytes comes between.
      const isPolled = (value: number): boolean => b.kind === "one" && model.isFlagged(value);
      const taken = a.step !== b.step || b.entering ? [] : writes(a).flatMap((w) =>
        model.reads(b.slot).flatMap((r) => (r.value === w.value && meet(w, r)
          ? [{ value: r.value, lo: Math.max(r.lo, w.lo), hi: Math.min(r.hi, w.hi) }] : [])));
      if (taken.length > 0 && !before[i]![j]) return true;
      const isSpoiled = nodes.some((w, k) =>
        k !== i && !before[k]![i] && !before[j]![k] &&
        writes(w).some((x) => !(w.kind === "one" && model.isFlagged(x.value)) && taken.some(
          (read) => !isPolled(read.value) && shareBytes(model, x, read))));
      if (isSpoiled) return true;
      // Appended rows come before who reads them, in the step and in the next.
      const isRows = !a.entering && !b.entering && model.states(a.slot).some((w) =>
        w.write && model.states(b.slot).some((r) =>
          !r.write && r.state === w.state && meet(w, r) &&
          (r.rows === "past" ? a.step === b.step - 1 : a.step === b.step)));
      if (isRows && !before[i]![j]) return true;
      // A step's descriptor is read after it is written, and before its place is written again.
      if (isEffect(a) && b.entering && b.step === a.step + 1 && !before[i]![j]) return true;
      // With flags, a step is over before the next begins.
      const isClosing = runsMix && b.entering && !a.entering && b.step === a.step + 1;
      if (isClosing && !before[i]![j]) return true;
      if (a.entering && isEffect(b) && b.step === a.step + 1 && a.sm !== b.sm && !before[i]![j]) {
        return true;
      }
      // Two writes of the same bytes, and a write of bytes in use, are in some order.
      const conflicts = a.entering || b.entering
        ? [] : conflictsOf({ ...model, states: () => [] }, a, b);
      return conflicts.length > 0 && !before[i]![j] && !before[j]![i];
    }),
  );
}

it("finds a race or a deadlock exactly where there is one", () => {
  const seen = new Map<string, number>();
  const sizes = { minSms: 2, maxSms: 3, maxOps: 3 };
  const sound = fc.oneof({ weight: 3, arbitrary: plans(sizes) }, flaggedPlans(sizes));
  const any = fc.oneof(
    mutatedPlans(sound, mutationKinds).map(({ mutated }) => mutated), sound,
  );
  fc.assert(
    fc.property(any, (made) => {
      const { laws } = verify(made, toyTable);
      const isBroken = (name: string): boolean =>
        laws.some((law) => law.name === name && law.violations.length > 0);
      // Where counts are wrong, order means nothing; coverage says who touches what.
      if (isBroken("counts") || isBroken("coverage") || laws.length === 1) return;
      const model = buildModel(made, toyTable);
      const runs = successions(made);
      const stuck = runs.some((kinds) => isStuck(model, kinds));
      expect(isBroken("deadlock")).toBe(stuck);
      if (stuck) return;
      const racing = runs.some((kinds) => hasRace(model, kinds));
      const found = isBroken("races") || isBroken("memory");
      const key = `${racing ? "racing" : "safe"}, ${found ? "refused" : "accepted"}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      if (racing) expect(found).toBe(true);
      const ordering = laws.flatMap((law) => law.violations).filter((v) => v.evidence !== undefined);
      // Polls order less on the GPU than here: only where there are none is each word the last.
      if (!racing && runs.length === 1) expect(ordering).toEqual([]);
    }),
    { numRuns: 150 },
  );
  console.log([...seen].map(([key, count]) => `${count} ${key}`).join("; "));
  expect(seen.get("racing, refused") ?? 0).toBeGreaterThan(5);
  expect(seen.get("safe, accepted") ?? 0).toBeGreaterThan(20);
});
