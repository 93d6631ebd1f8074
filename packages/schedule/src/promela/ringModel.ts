/** @file The Promela text of one SM's weight ring: producer, copies, consumer warps, leaving. */
import { given, readGiven } from "./given.ts";

/** Numbers that the model loads: the ring, and what it is used for. */
export interface RingCase {
  readonly stages: number;
  readonly warps: number;
  /** The producer keeps at most this many chunks in flight. */
  readonly inFlight: number;
  /** Chunks of a task: between tasks, warps wait for each other. */
  readonly taskChunks: number;
  /** Chunks that are consumed before the launch ends. */
  readonly chunks: number;
  /** Which mistake is planted. */
  readonly defect: RingDefect;
}

/** In the order of the numbers in the text. */
export const ringDefects = [
  "none",
  "a stage is released before it is read",
  "a warp does not wait for the bytes",
  "a warp waits for the other parity",
  "the producer does not wait for the release",
  "the producer does not drain",
  "the producer does not keep to its cap",
  "the producer does not look whether to leave",
] as const;
export type RingDefect = (typeof ringDefects)[number];

/** Bounds of the text's arrays; chunk numbers are bytes. */
export const ringLimits = { stages: 16, warps: 8, chunks: 200 } as const;

/** Standard input of the compiled model. */
export function ringInput(ring: RingCase): string {
  const { stages, warps, inFlight, taskChunks, chunks, defect } = ring;
  return [stages, warps, inFlight, taskChunks, chunks, ringDefects.indexOf(defect)].join(" ");
}

const landings = Array.from(
  { length: ringLimits.stages },
  (_, stage) => `  :: flying[${stage}] > 0 -> LAND(${stage})`,
).join("\n");

const barrier = Array.from(
  { length: ringLimits.warps },
  (_, warp) => `(${warp} >= WARPS || next[${warp}] / TASK >= (task))`,
).join(" && ");

/**
 * Chunk i goes to stage i mod stages and to warp i mod warps. A bulk copy (asynchronous proxy)
 * makes its stage garbage from its issue on and lands at any later time, in any order with others.
 */
export const ringModel = `${given("STAGES", "WARPS", "CAP", "TASK", "CHUNKS", "DEFECT")}
#define MOST_STAGES ${ringLimits.stages}
#define MOST_WARPS  ${ringLimits.warps}
#define GARBAGE 255

byte content[MOST_STAGES];  /* chunk number */
byte flying[MOST_STAGES];   /* chunk number + 1 of the copy under way into the stage, or 0 */
bit filled[MOST_STAGES];      /* phases completed, by parity, as mbarriers know them */
bit vacated[MOST_STAGES];
byte next[MOST_WARPS];      /* the warp's next chunk */
byte gone;                  /* warps that have left */
bit over;

/* mbarrier.test_wait.parity: the phase of this parity is not the one in progress */
#define PASSED(bar, parity) ((bar) != (parity))
#define LAP(chunk) (((chunk) / STAGES) & 1)
#define STAGE(chunk) ((chunk) % STAGES)

/* The barrier between tasks: no warp has a chunk of an earlier task left. */
#define ALL_AT(task) (${barrier})

#define LAND(s) d_step { content[s] = flying[s] - 1; flying[s] = 0; filled[s] = 1 - filled[s] }

active proctype copies() {
end:
  do
${landings}
  od
}

proctype producer() {
  byte chunk, i;
  do
  :: (DEFECT == 4 || PASSED(vacated[STAGE(chunk)], 1 - LAP(chunk))) &&
     (DEFECT == 6 || chunk < CAP || PASSED(filled[STAGE(chunk - CAP)], LAP(chunk - CAP))) ->
     d_step {
       assert(flying[STAGE(chunk)] == 0);
       content[STAGE(chunk)] = GARBAGE;
       flying[STAGE(chunk)] = chunk + 1;
       chunk++
     }
  :: over && DEFECT != 7 && !PASSED(vacated[STAGE(chunk)], 1 - LAP(chunk)) -> break
  od;
  if :: chunk > CAP -> i = chunk - CAP :: else fi;
  do
  :: i < chunk && DEFECT != 5 -> PASSED(filled[STAGE(i)], LAP(i)); i++
  :: else -> break
  od;
  /* The block ends: nothing may still arrive. */
  i = 0;
  do :: i < STAGES -> assert(flying[i] == 0); i++ :: else -> break od
}

proctype warp(byte me) {
  do
  :: next[me] < CHUNKS ->
     atomic {
       ALL_AT(next[me] / TASK);
       DEFECT == 2 || PASSED(filled[STAGE(next[me])], LAP(next[me]) ^ (DEFECT == 3));
       if :: DEFECT == 1 -> vacated[STAGE(next[me])] = 1 - vacated[STAGE(next[me])] :: else fi;
       assert(content[STAGE(next[me])] == next[me])
     };
     /* Lanes read early and late, but all before the release. */
     d_step {
       assert(content[STAGE(next[me])] == next[me]);
       if :: DEFECT != 1 -> vacated[STAGE(next[me])] = 1 - vacated[STAGE(next[me])] :: else fi;
       next[me] = next[me] + WARPS
     }
  :: else -> break
  od;
  atomic { gone++; over = (gone == WARPS) }
}

init {
  byte i;
  atomic {
    ${readGiven};
    run producer();
    do :: i < WARPS -> next[i] = i; run warp(i); i++ :: else -> break od
  }
}
`;
