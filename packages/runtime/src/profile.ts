/** @file What a kernel that profiles itself measured: each SM's instructions with their times. Pure. */
import {
  type Manifest, type ProfileLayout, ProfileMark, profileWords,
} from "@mpk/cuda/manifest";

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
  /** First chunk asked for, and there, and last chunk used; null where nothing is streamed. */
  readonly asked: number | null;
  readonly data: number | null;
  readonly consumed: number | null;
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

export function profileRoom(
  layout: ProfileLayout,
  sms: number,
  { steps }: ProfileWanted,
): ProfileRoom {
  const fullCount = fullsPerInstruction * layout.records * (steps + 1);
  return {
    timesBytes: 8 * profileWords * layout.records * sms * steps,
    fullBytes: 16 * fullCount * sms,
    fullCount,
  };
}

/** The number of a scope such as `layers.3.mlp`. */
function layerOf(scope: string): number | null {
  const found = /(?:^|\.)(\d+)(?:\.|$)/.exec(scope)?.[1];
  return found === undefined ? null : Number(found);
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
  times: BigUint64Array,
  full: BigUint64Array,
): Profile {
  const zero = times.reduce((least, word, i) => {
    const isTime = word !== 0n && i % profileWords !== ProfileMark.stalled;
    return isTime && (least === 0n || word < least) ? word : least;
  }, 0n);
  const sms = layout.tasks.length;
  const word = (step: number, sm: number, record: number, mark: keyof typeof ProfileMark) =>
    times[((step * sms + sm) * layout.records + record) * profileWords + ProfileMark[mark]] ?? 0n;
  const at = (...where: Parameters<typeof word>) => Number(word(...where) - zero);
  const maybe = (...where: Parameters<typeof word>) =>
    word(...where) === 0n ? null : at(...where);
  const smStep = (step: number, sm: number): SmStep => {
    const tasks = layout.tasks[sm] ?? [];
    const instructions = Array.from({ length: tasks.length / 4 }, (_, i): InstructionTimes => {
      const [op = 0, tileLo = 0, tileHi = 0, streamedBytes = 0] = tasks.slice(4 * i, 4 * i + 4);
      const { kind = "?", scope = "" } = manifest.ops[op] ?? {};
      const start = at(step, sm, i + 1, "start");
      const end = maybe(step, sm, i + 1, "end") ?? start;
      return {
        sm, instruction: i, op, kind, scope, layer: layerOf(scope), tileLo, tileHi, streamedBytes,
        start,
        ready: maybe(step, sm, i + 1, "ready") ?? start,
        asked: maybe(step, sm, i + 1, "asked"),
        data: maybe(step, sm, i + 1, "data"),
        consumed: maybe(step, sm, i + 1, "consumed"),
        end,
        stalledNanos: Number(word(step, sm, i + 1, "stalled")),
      };
    });
    return {
      sm, instructions, arrived: at(step, sm, 0, "start"), opened: at(step, sm, 0, "ready"),
    };
  };
  const working = layout.tasks.flatMap((tasks, sm) => (tasks.length > 0 ? [sm] : []));
  const ran = Array.from({ length: wanted.steps }, (_, step) => step).filter(
    (step) => working.every((sm) => word(step, sm, 1, "end") !== 0n),
  );
  const room = full.length / 2 / Math.max(1, sms);
  const ringFull = layout.tasks.map((_, sm) => {
    const entries = Array.from({ length: room }, (_, i) => 2 * (sm * room + i));
    return entries.flatMap((i) => {
      const [from = 0n, to = 0n] = full.subarray(i, i + 2);
      return from === 0n ? [] : [{ from: Number(from - zero), to: Number(to - zero) }];
    });
  });
  return {
    steps: ran.map((step) => ({
      step: wanted.firstStep + step,
      sms: working.map((sm) => smStep(step, sm)),
    })),
    ringFull,
    ringFullCut: room > 0 && ringFull.some((entries) => entries.length === room),
  };
}
