/** @file The Promela text of the weight ring without an end: numbers that start over, launches in a row. */
import { given, readGiven } from "./given.ts";

/** Numbers that the model loads. */
export interface LapCase {
  readonly stages: number;
  readonly warps: number;
  /** The producer keeps at most this many chunks in flight. */
  readonly inFlight: number;
  /** Chunks of a step: between steps warps wait for each other, and numbers may start over. */
  readonly stepChunks: number;
  /** At a step's end, numbers from two of these on start over at one. */
  readonly lap: number;
  readonly launches: number;
  /** Which mistake is planted. */
  readonly defect: LapDefect;
}

/** In the order of the numbers in the text. */
export const lapDefects = [
  "none",
  "numbers start over at 0",
  "the barriers keep their phases from one launch to the next",
  "the block ends before the producer has left",
  "the producer does not drain",
] as const;
export type LapDefect = (typeof lapDefects)[number];

/** Bounds of the text's arrays; numbers are bytes: two laps and a step stay below 250. */
export const lapLimits = { stages: 8, warps: 4 } as const;

/** Standard input of the compiled model. */
export function lapInput(ring: LapCase): string {
  const { stages, warps, inFlight, stepChunks, lap, launches, defect } = ring;
  return [stages, warps, inFlight, stepChunks, lap, launches, lapDefects.indexOf(defect)].join(" ");
}

const landings = Array.from(
  { length: lapLimits.stages },
  (_, stage) => `  :: flying[${stage}] > 0 -> LAND(${stage})`,
).join("\n");

/**
 * As the ring's own model, which has what a stage goes through; here steps follow one another for as long as
 * anyone likes, so that a search covers launches of any length: a chunk's number, which starts over in the
 * kernel's way, decides stage, parity and warp, and what a stage holds is told by the true count, kept
 * modulo more than can be confused. A launch may be over at each step's end; the next one finds a block anew.
 */
export const lapModel = `${given("STAGES", "WARPS", "CAP", "SHARE", "ROUND", "LAUNCHES", "DEFECT")}
#define MOST_STAGES ${lapLimits.stages}
#define MOST_WARPS  ${lapLimits.warps}
#define GARBAGE 255
#define TRUTH (2 * ROUND)    /* true counts are kept modulo this */

byte content[MOST_STAGES];  /* true count */
byte flying[MOST_STAGES];   /* true count + 1 of the copy under way into the stage, or 0 */
bit filled[MOST_STAGES];      /* phases completed, by parity, as mbarriers know them */
bit vacated[MOST_STAGES];
byte number, count;         /* of the step's first chunk: its number, and its true count */
byte arrived, gone;         /* warps at the step's end, and warps that have left */
bit turn, over;
bit left;                   /* the producer has */
byte launch;

/* mbarrier.test_wait.parity: the phase of this parity is not the one in progress */
#define PASSED(bar, parity) ((bar) != (parity))
#define LAP(chunk) (((chunk) / STAGES) & 1)
#define STAGE(chunk) ((chunk) % STAGES)
#define START_OVER(n) (((n) < 2 * ROUND) -> (n) : ((DEFECT == 1) -> (n) % ROUND : ROUND + (n) % ROUND))

#define LAND(s) d_step { content[s] = flying[s] - 1; flying[s] = 0; filled[s] = 1 - filled[s] }

active proctype copies() {
end:
  do
${landings}
  od
}

proctype producer() {
  byte chunk, truly, made, i;
  do
  :: (chunk < STAGES || PASSED(vacated[STAGE(chunk)], 1 - LAP(chunk))) &&
     (chunk < CAP || PASSED(filled[STAGE(chunk - CAP)], LAP(chunk - CAP))) ->
     d_step {
       assert(flying[STAGE(chunk)] == 0);
       content[STAGE(chunk)] = GARBAGE;
       flying[STAGE(chunk)] = truly + 1;
       truly = (truly + 1) % TRUTH;
       chunk++;
       made++;
       if :: made == SHARE -> made = 0; chunk = START_OVER(chunk) :: else fi
     }
  :: over && chunk >= STAGES && !PASSED(vacated[STAGE(chunk)], 1 - LAP(chunk)) -> break
  od;
  if :: chunk > CAP -> i = chunk - CAP :: else i = 0 fi;
  do
  :: i < chunk && DEFECT != 4 -> PASSED(filled[STAGE(i)], LAP(i)); i++
  :: else -> break
  od;
  left = 1
}

proctype warp(byte me) {
  byte i;
  bit mine;
  do
  :: i = (me + WARPS - number % WARPS) % WARPS;
     do
     :: i < SHARE ->
        atomic {
          PASSED(filled[STAGE(number + i)], LAP(number + i));
          assert(content[STAGE(number + i)] == (count + i) % TRUTH)
        };
        /* Lanes read early and late, but all before the release. */
        d_step {
          assert(content[STAGE(number + i)] == (count + i) % TRUTH);
          vacated[STAGE(number + i)] = 1 - vacated[STAGE(number + i)];
          i = i + WARPS
        }
     :: else -> break
     od;
     /* The barrier between steps; the last to come opens the next one, or none. */
     atomic {
       i = 0;
       arrived++;
       if
       :: arrived == WARPS ->
          arrived = 0;
          number = number + SHARE;
          number = START_OVER(number);
          count = (count + SHARE) % TRUTH;
          if :: over = 1 :: skip fi;
          turn = 1 - turn
       :: else -> mine = turn; turn != mine
       fi;
       mine = 0
     };
     if :: over -> break :: else fi
  od;
  gone++
}

init {
  byte i;
  atomic { ${readGiven} };
  do
  :: launch < LAUNCHES ->
     atomic {
       run producer();
       do :: i < WARPS -> run warp(i); i++ :: else -> break od
     };
     atomic {
       gone == WARPS && (left || DEFECT == 3);
       /* The block ends: nothing may still arrive. Its shared memory is anyone's, and begins anew. */
       i = 0;
       do
       :: i < STAGES ->
          assert(flying[i] == 0);
          if :: DEFECT != 2 -> filled[i] = 0; vacated[i] = 0 :: else fi;
          content[i] = GARBAGE;
          i++
       :: else -> break
       od;
       i = 0;
       assert(left);
       gone = 0; over = 0; left = 0; turn = 0; number = 0; count = 0;
       launch++
     }
  :: else -> break
  od
}
`;
