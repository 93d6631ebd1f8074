/** @file What a kernel that profiles itself measured: each SM's instructions with their times. Pure. */
import {
  type Manifest, type ProfileLayout, ProfileMark, profileWords, StepMark,
} from "@mpk/cuda/manifest";
import { clocksSince, nanosAt, type Pair, ProfileWords, ringFullOf } from "./profile-clocks.ts";

/** Which steps to keep; a prompt's steps count too. */
export interface ProfileWanted {
  readonly firstStep: number;
  readonly steps: number;
}

/** One instruction of one SM in one step. Times are nanoseconds since the profile's first mark. */
export interface InstructionTimes {
  readonly sm: number;
  /** Place in the SM's list. */
  readonly instruction: number;
  /** Index in the program. */
  readonly op: number;
  readonly kind: string;
  readonly scope: string;
  /** The number in its scope; null outside layers. */
  readonly layer: number | null;
  readonly tileLo: number;
  readonly tileHi: number;
  readonly streamedBytes: number;
  readonly start: number;
  /** All it depends on is there. */
  readonly ready: number;
  /** Its activations lie in shared memory, normed; null where that is not marked. */
  readonly placed: number | null;
  /** First chunk asked for, and there, and last chunk used; null where nothing is streamed. */
  readonly asked: number | null;
  readonly data: number | null;
  readonly consumed: number | null;
  /** The first thread's outputs stored; null as `placed`. */
  readonly stored: number | null;
  /** Its signals are out. */
  readonly end: number;
  /** Nanoseconds that the first warp waited for chunks after the first. */
  readonly stalledNanos: number;
}

/** One SM's step. */
export interface SmStep {
  readonly sm: number;
  /** The SM asked for the step. */
  readonly arrived: number;
  /** The step's gate was open. */
  readonly opened: number;
  readonly instructions: readonly InstructionTimes[];
}

export interface StepTimes {
  readonly step: number;
  /** SMs that have instructions. */
  readonly sms: readonly SmStep[];
}

export interface Profile {
  readonly steps: readonly StepTimes[];
  /** Per SM, when its producer found the ring full: nothing was read from memory for it then. */
  readonly ringFull: readonly (readonly Interval[])[];
  /** Some of those did not fit the log. */
  readonly ringFullCut: boolean;
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** Device bytes of both buffers of a profile. */
export interface ProfileRoom {
  readonly timesBytes: number;
  readonly fullBytes: number;
  /** Entries that an SM may log. */
  readonly fullCount: number;
}

/** Twice an instruction, on average, may the ring fill up before the log is cut. */
const fullsPerInstruction = 2;

/** Device memory, in bytes, that a profile of the `steps` wanted takes on `sms` SMs. */
export function profileRoom(
  layout: ProfileLayout,
  sms: number,
  { steps }: ProfileWanted,
): ProfileRoom {
  const fullCount = fullsPerInstruction * layout.records * (steps + 1);
  return {
    timesBytes: 4 * profileWords * layout.records * sms * steps,
    fullBytes: 8 * fullCount * sms,
    fullCount,
  };
}

/** The number of a scope such as `layers.3.mlp`. */
function layerOf(scope: string): number | null {
  const found = /(?:^|\.)(\d+)(?:\.|$)/.exec(scope)?.[1];
  return found === undefined ? null : Number(found);
}

/** One SM's step. */
function smStepOf(
  { ops }: Pick<Manifest, "ops">,
  layout: ProfileLayout,
  words: ProfileWords,
  { step, sm, pair }: { readonly step: number; readonly sm: number; readonly pair: Pair },
): SmStep {
  const first = words.at(step, sm, 0, StepMark.arrived);
  const time = (word: number) =>
    Math.round(nanosAt(pair, pair.clocks[0] + clocksSince(first, word)));
  const arrived = time(first);
  const tasks = layout.tasks[sm] ?? [];
  const instructions = Array.from({ length: tasks.length / 4 }, (_, i): InstructionTimes => {
    const [op = 0, tileLo = 0, tileHi = 0, streamedBytes = 0] = tasks.slice(4 * i, 4 * i + 4);
    const { kind = "?", scope = "" } = ops[op] ?? {};
    const word = (mark: keyof typeof ProfileMark) => words.at(step, sm, i + 1, ProfileMark[mark]);
    const maybe = (mark: keyof typeof ProfileMark) => word(mark) === 0 ? null : time(word(mark));
    const start = time(word("start"));
    return {
      sm, instruction: i, op, kind, scope, layer: layerOf(scope), tileLo, tileHi, streamedBytes,
      start,
      ready: maybe("ready") ?? start,
      placed: maybe("placed"),
      asked: maybe("asked"),
      data: maybe("data") ?? maybe("asked"),
      consumed: maybe("consumed"),
      stored: maybe("stored"),
      end: maybe("end") ?? maybe("stored") ?? start,
      stalledNanos: time(first + word("stalled")) - arrived,
    };
  });
  return { sm, instructions, arrived, opened: time(words.at(step, sm, 0, StepMark.opened)) };
}

/**
 * A profile from the words the kernel wrote. Steps that did not run are left out.
 * @param times [steps, SMs, records, words]
 * @param full [SMs, fullCount, 2]
 */
export function readProfile(
  manifest: Pick<Manifest, "ops">,
  layout: ProfileLayout,
  wanted: ProfileWanted,
  times: Uint32Array,
  full: Uint32Array,
): Profile {
  const words = new ProfileWords(layout, times);
  const sms = layout.tasks.map((_, sm) => sm);
  const working = sms.filter((sm) => (layout.tasks[sm]?.length ?? 0) > 0);
  const ran = Array.from({ length: wanted.steps }, (_, step) => step)
    .filter((step) => words.ran(step, working));
  const zero = words.earliest(ran, working);
  const pairs = sms.map((sm) => working.includes(sm) ? words.pairs(sm, ran, zero) : []);
  const room = full.length / Math.max(1, sms.length);
  const ringFull = sms.map((sm) => ringFullOf(
    full.subarray(sm * room, (sm + 1) * room), pairs[sm] ?? [],
    words.at(ran[0] ?? 0, sm, 0, StepMark.arrived),
  ));
  return {
    steps: ran.map((step, index) => ({
      step: wanted.firstStep + step,
      sms: working.flatMap((sm) => {
        const pair = pairs[sm]?.[index];
        return pair === undefined ? [] : [smStepOf(manifest, layout, words, { step, sm, pair })];
      }),
    })),
    ringFull,
    ringFullCut: room > 0 && ringFull.some((entries) => entries.length === room / 2),
  };
}
