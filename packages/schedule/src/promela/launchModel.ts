/** @file The Promela text of launches in a row: counters that wrap and are cleared, host and kernel. */
import { given, readGiven } from "./given.ts";

/** Numbers that the model loads. */
export interface LaunchCase {
  readonly sms: number;
  /** Steps of a launch at most. */
  readonly steps: number;
  readonly launches: number;
  /** Bits of a counter and of a target. */
  readonly wordBits: number;
  /** Which mistake is planted. */
  readonly defect: LaunchDefect;
}

/** In the order of the numbers in the text. */
export const launchDefects = [
  "none",
  "counts and targets are compared without sign",
  "counters are not cleared before a launch",
  "the control block is not cleared before a launch",
  "the control block is cleared behind the launch",
  "the host takes the status for the kernel's end",
  "each SM looks at the stop word itself",
  "targets begin where the launch before ended",
] as const;
export type LaunchDefect = (typeof launchDefects)[number];

/** Bounds of the text's arrays. */
export const launchLimits = { sms: 3, steps: 14 } as const;

/** Standard input of the compiled model. */
export const launchInput = ({ sms, steps, launches, wordBits, defect }: LaunchCase): string =>
  [sms, steps, launches, 2 ** wordBits, launchDefects.indexOf(defect)].join(" ");

/**
 * A step: every SM writes a value and triggers, waits for all, reads all values, and triggers the op
 * that chooses the token on SM 0, which hands it to the host and opens the next step, or says stop: at the
 * last step, or where the host has asked for it, as it may at any time. Counters only grow, modulo a word;
 * a wait looks at the sign of the difference. Between launches the host clears them.
 *
 * Searched for: a value, descriptor or token of another step or launch, and whoever does not get out.
 * Order in memory is that of the program: how it may be weaker is in the other models.
 */
export const launchModel = `${given("N", "STEPS", "LAUNCHES", "WORDS", "DEFECT")}
#define MOST     ${launchLimits.sms}
#define ID(s)    (launch * 16 + (s) + 1)

/* Counters: of the op on all SMs, of what the choice of the token waits for, of the gate. */
#define OP 0
#define CHOICE 1
#define GATE 2
byte counter[3];
byte value[MOST];
byte descriptor[2];
bit says[2];             /* stop, in each descriptor */
/* The control block. */
byte produced, status, token;
bit stop;
byte launch;
byte gone;               /* SMs that have left */

/* The sign of count - target, as words. */
#define BEHIND(seen, target) \\
  ((DEFECT == 1) -> ((seen) < (target) % WORDS) : (((seen) + WORDS - (target) % WORDS) % WORDS >= WORDS / 2))
#define EPOCHS(s) ((s) + (DEFECT == 7) * launch)
#define TRIGGER(event) counter[event] = (counter[event] + 1) % WORDS

proctype sm(byte me) {
  byte step, i;
  do
  :: if
     :: step > 0 ->
        atomic {
          !BEHIND(counter[GATE], EPOCHS(step));
          assert(descriptor[step & 1] == ID(step));
          if :: says[step & 1] || (DEFECT == 6 && stop) -> break :: else fi
        }
     :: else
     fi;
     value[me] = ID(step);
     TRIGGER(OP);
     atomic { !BEHIND(counter[OP], N * EPOCHS(step + 1)); i = 0 };
     do :: i < N -> atomic { assert(value[i] == ID(step)); i++ } :: else -> i = 0; break od;
     TRIGGER(CHOICE);
     if
     :: me == 0 ->
        !BEHIND(counter[CHOICE], N * EPOCHS(step + 1));
        atomic { token = ID(step); produced++ };
        atomic {
          descriptor[(step + 1) & 1] = ID(step + 1);
          says[(step + 1) & 1] = (step + 1 == STEPS || (stop && DEFECT != 6));
          if :: says[(step + 1) & 1] -> status = 1 :: else fi
        };
        TRIGGER(GATE)
     :: else
     fi;
     step++
  od;
  gone++
}

/* Reads tokens, and asks for a stop at any time or not at all. */
init {
  byte i, taken;
  atomic { ${readGiven} };
  do
  :: launch < LAUNCHES ->
     atomic {
       i = 0;
       if :: DEFECT != 2 && DEFECT != 7 -> counter[OP] = 0; counter[CHOICE] = 0; counter[GATE] = 0 :: else fi;
       if :: DEFECT != 3 && DEFECT != 4 -> produced = 0; status = 0; stop = 0 :: else fi;
       gone = 0;
       do :: i < N -> run sm(i); i++ :: else -> i = 0; break od
     };
     if :: DEFECT == 4 -> atomic { produced = 0; status = 0; stop = 0 } :: else fi;
     taken = 0;
     do
     :: taken < produced ->
        atomic { assert(produced <= STEPS && token >= ID(taken) && token <= ID(STEPS - 1)); taken = produced }
     :: !stop -> stop = 1
     :: taken == produced && (gone == N || (DEFECT == 5 && status == 1)) -> break
     od;
     assert(status == 1 && taken > 0 && taken == produced);
     atomic { launch++; taken = 0 }
  :: else -> break
  od
}
`;
