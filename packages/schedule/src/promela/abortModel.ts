/** @file The Promela text of the watchdog: a watch may end at any time, and every SM must get out. */
import { given, readGiven } from "./given.ts";

/** Numbers that the model loads. */
export interface AbortCase {
  readonly sms: number;
  /** Steps after which the token choice says stop, where nobody gives up. */
  readonly steps: number;
  /** The SM whose ring is looked at; those of others are their own. */
  readonly watched: number;
  /** Which mistake is planted. */
  readonly defect: AbortDefect;
}

/** In the order of the numbers in the text. */
export const abortDefects = [
  "none",
  "an SM that gave up triggers all the same",
  "the producer does not look whether to leave",
  "an SM that gave up goes on to the next step",
  "an SM that gave up waits for its weights all the same",
  "an SM that gave up hands a token out",
  "every SM that gave up writes a report",
  "the producer does not drain",
  "a report does not wait for its rank",
] as const;
export type AbortDefect = (typeof abortDefects)[number];

/** Bounds of the text's arrays. */
export const abortLimits = { sms: 4, steps: 8 } as const;

/** Standard input of the compiled model. */
export const abortInput = ({ sms, steps, watched, defect }: AbortCase): string =>
  [sms, steps, watched, abortDefects.indexOf(defect)].join(" ");

/**
 * Each step has two ops on all SMs, which stream a chunk each (one SM's ring is looked at), and the token
 * choice on SM 0, which opens the next step. An SM's producer keeps the time: a watch may end at any time
 * and without a reason, and each SM learns of it at any time later; only then do its waits give up. What
 * holds for all of these holds for the waits that never would have ended.
 *
 * Searched for: an SM or a producer that does not get out, a copy under way into a block that has ended, a
 * token that rests on what an SM that gave up has not done, more steps than asked for, more than one report,
 * and a launch that gave up before its last token without one.
 */
export const abortModel = `${given("SMS", "STEPS", "WATCHED", "DEFECT")}
#define MOST   ${abortLimits.sms}
#define STAGES 2
#define CAP    1     /* chunks in flight */

byte count[3];        /* triggers: the two ops, the token choice */
bit calm;             /* no watch ends */
bit abort;            /* the abort word */
byte best;            /* the earliest wait that gave up, the largest rank */
bit written;
byte reports;
bit stopped;          /* the next step's descriptor says stop */
bit rotten;           /* a trigger without its work */
byte gone;
bit told[MOST], leave[MOST];
byte stuck[MOST];     /* the SM's first wait that gave up */
bit ranked[MOST];     /* known to all SMs */
byte issued, landed, used;  /* chunks of the watched ring */

/* Earlier waits have larger ranks. */
#define RANK(step, op) (1 + (STEPS - (step)) * 4 + 3 - (op))

inline giveUp(atStep, atOp) {
  atomic { if :: stuck[me] == 0 -> stuck[me] = RANK(atStep, atOp) :: else fi }
}

/* A counter: reached, or given up. */
inline await(ev, goal, inStep, inOp) {
  if
  :: count[ev] >= (goal)
  :: count[ev] < (goal) && told[me] -> giveUp(inStep, inOp)
  fi
}

/* A filled stage, released in any case. */
inline take(inStep, inOp) {
  if
  :: me != WATCHED
  :: me == WATCHED && landed > used -> used++
  :: me == WATCHED && landed <= used && told[me] && DEFECT != 4 -> giveUp(inStep, inOp); used++
  fi
}

inline trigger(ev) {
  atomic {
    if
    :: !told[me] || DEFECT == 1 ->
       if :: stuck[me] -> rotten = 1 :: else fi;
       count[ev]++
    :: else
    fi
  }
}

/* In the kernel this waits for longer than ranking takes. */
inline report() {
  (ranked[me] || DEFECT == 8);
  if
  :: ranked[me] && (stuck[me] == best || DEFECT == 6) ->
     atomic { if :: !written || DEFECT == 6 -> written = 1; reports++ :: else fi }
  :: else
  fi
}

proctype consumers(byte me) {
  byte step;
  bit over;
  do
  :: if
     :: step > 0 ->
        await(2, step, step, 0);
        over = stopped;
        if
        :: told[me] && DEFECT != 3 -> giveUp(step, 0); report(); over = 1
        :: else
        fi
     :: else
     fi;
     if :: over -> atomic { leave[me] = 1; gone++ }; break :: else fi;
     assert(step < STEPS);
     take(step, 0);
     trigger(0);
     await(0, SMS * (step + 1), step, 1);
     take(step, 1);
     trigger(1);
     if
     :: me == 0 ->
        await(1, SMS * (step + 1), step, 2);
        if
        :: !told[0] || DEFECT == 5 ->
           atomic {
             assert(!stuck[0] && !rotten);
             if :: step + 1 == STEPS -> stopped = 1 :: else fi
           };
           trigger(2)
        :: else
        fi
     :: else
     fi;
     step++
  od
}

#define WAITS (me != WATCHED || issued - used >= STAGES || issued - landed >= CAP)

/* It waits for an empty stage, which shows when to leave, or for a copy that is under way. Of SMs that are
   not looked at, nothing but the watch. */
proctype producer(byte me) {
  do
  :: me == WATCHED && !told[me] && issued - used < STAGES && issued - landed < CAP -> issued++
  :: (me != WATCHED || told[me] || issued - used >= STAGES) && leave[me] && DEFECT != 2 -> break
  :: atomic { WAITS && !calm && !told[me] -> abort = 1; told[me] = 1 }
  :: atomic { WAITS && abort && !told[me] -> told[me] = 1 }
  :: atomic {
       told[me] && stuck[me] -> ranked[me] = 1;
       if :: best < stuck[me] -> best = stuck[me] :: else fi
     };
     break
  od;
  atomic {
    (me != WATCHED || landed == issued || DEFECT == 7);
    assert(me != WATCHED || landed == issued);
    gone++
  }
}

active proctype copies() {
end:
  do :: landed < issued -> landed++ od
}

init {
  byte i;
  atomic {
    ${readGiven};
    if :: calm = 1 :: calm = 0 fi;
    do :: i < SMS -> run producer(i); run consumers(i); i++ :: else -> break od
  };
  gone == 2 * SMS;
  assert(reports <= 1 && reports <= abort);
  assert(reports == abort || stopped)
}
`;
