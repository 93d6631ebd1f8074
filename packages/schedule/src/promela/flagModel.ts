/** @file The Promela text of flag-in-data edges: words that carry their own arrival, two copies. */
import { given, readGiven } from "./given.ts";

/** In the order of the numbers in the text. */
export const flagDefects = [
  "none",
  "the other copy is not cleared",
  "one copy instead of two",
  "no closing wait for an SM whose last hand-off is a flag",
  "steps of many tokens do not signal",
  "steps of one token signal too",
  "the copies take turns over steps of many tokens too",
  "the counters' target counts all steps",
  "the gate is not acquired",
  "the closing signal is relaxed",
  "a copy is cleared in the step that writes it",
  "this step's state rows rest on a flag",
  "the copies are not cleared before the launch",
] as const;
export type FlagDefect = (typeof flagDefects)[number];

export const flagLimits = { sms: 3, steps: 4 } as const;

/** Standard input of the compiled model. */
export function flagInput(sms: number, steps: number, defect: FlagDefect): string {
  return [sms, steps, flagDefects.indexOf(defect)].join(" ");
}

/**
 * Every step is one of a single token or of many, in any order. Two ops in a row hand over words,
 * polled in steps of one token; in steps of many, their rows are plain memory behind counters. A
 * last op hands over by a counter to SM 0, which opens the next step. A word has one writer. Beside
 * the words one plain thing is watched: a state's rows, the rows of a step of many, the last op's
 * value, or the descriptor.
 */
export const flagModel = `${given("N", "STEPS", "DEFECT")}
#define MOST_SMS ${flagLimits.sms}
#define PLACES (2 * MOST_SMS * 2 + 1)
#define DEPTH  (2 * ${flagLimits.steps} + 2)
#define WORD(op, sm, copy) (((op) * MOST_SMS + (sm)) * 2 + (copy))
#define PLAIN (PLACES - 1)

#define ROWS_OF_STATE 1
#define MANY_ROWS     2
#define LAST_VALUE    3
#define NEXT_STEP     4

/* Every store to a place is kept. A load may return any that is not older than what the SM has
   seen there or acquired: stores show late, out of order, and to each SM at its own time. A word
   holds 0 for the sentinel, or the number of a step from 1. */
byte top[PLACES];
byte held[PLACES * DEPTH];
byte seen[MOST_SMS * PLACES];

/* Counters: of the two flagged ops, of the last op, the gate, and one that closes the step. */
#define LAST  2
#define GATE  3
#define CLOSE 4
byte count[5];
byte handed[5 * PLACES];

byte watched, owner;
bit many[${flagLimits.steps} + 1];

#define HELD(place, index) held[(place) * DEPTH + (index)]
#define SEEN(place) seen[me * PLACES + (place)]
/* The copies take turns over the steps of one token. */
#define TURN  (ones + (DEFECT == 6) * (step - ones))
#define COPY  ((TURN & 1) * (DEFECT != 2))
#define OTHER (((TURN + 1) & 1) * (DEFECT != 2))

inline store(place, what) {
  d_step { top[place]++; HELD(place, top[place]) = what; SEEN(place) = top[place] }
}

inline release(event) {
  d_step {
    j = 0;
    do
    :: j < PLACES ->
       if
       :: SEEN(j) > handed[(event) * PLACES + j] -> handed[(event) * PLACES + j] = SEEN(j)
       :: else
       fi;
       j++
    :: else -> break
    od;
    j = 0;
    count[event]++
  }
}

inline acquire(event, target) {
  d_step {
    count[event] >= (target);
    j = 0;
    do
    :: j < PLACES ->
       if
       :: handed[(event) * PLACES + j] > SEEN(j) -> SEEN(j) = handed[(event) * PLACES + j]
       :: else
       fi;
       j++
    :: else -> break
    od;
    j = 0
  }
}

/* Picks one of the stores that the SM may still see. */
inline pick(place) {
  x = SEEN(place);
  do
  :: x < top[place] -> x++
  :: true -> break
  od
}

/* Until it is not the sentinel. */
inline poll(place) {
  atomic {
    x = SEEN(place);
    do
    :: x <= top[place] && HELD(place, x) != 0 -> break
    :: x < top[place] -> x++
    :: x >= top[place] && HELD(place, x) == 0 -> top[place] > x; x++
    od;
    assert(HELD(place, x) == step + 1);
    SEEN(place) = x;
    x = 0
  }
}

inline load(place, what) {
  atomic { pick(place); assert(HELD(place, x) == what); SEEN(place) = x; x = 0 }
}

inline loadAtLeast(place, what) {
  atomic { pick(place); assert(HELD(place, x) >= what); SEEN(place) = x; x = 0 }
}

#define CLEARS (DEFECT != 1 && DEFECT != 2 && DEFECT != 10)

inline hand_over(op) {
  if
  :: many[step] || DEFECT == 5 -> if :: DEFECT != 4 -> release(op) :: else fi
  :: else
  fi;
  if
  :: !many[step] ->
     if :: DEFECT == 10 -> store(WORD(op, me, COPY), 0) :: else fi;
     if
     :: CLEARS -> store(WORD(op, me, OTHER), 0); store(WORD(op, me, COPY), step + 1)
     :: store(WORD(op, me, COPY), step + 1);
        if :: CLEARS -> store(WORD(op, me, OTHER), 0) :: else fi
     fi
  :: else
  fi
}

inline take(op) {
  if
  :: many[step] ->
     acquire(op, N * (step - ones + 1 + (DEFECT == 7) * ones));
     if
     :: op == 0 && watched == MANY_ROWS && owner != me -> load(PLAIN, step + 1)
     :: else
     fi
  :: else ->
     do :: i < N -> poll(WORD(op, i, COPY)); i++ :: else -> break od
  fi;
  i = 0
}

proctype sm(byte me) {
  byte i, j, x, step, ones;
  do
  :: if
     :: step > 0 ->
        if
        :: DEFECT == 8 -> count[GATE] >= step
        :: else -> acquire(GATE, step)
        fi;
        if :: watched == NEXT_STEP && me != 0 -> load(PLAIN, step) :: else fi;
        ones = ones + 1 - many[step - 1]
     :: else
     fi;
     if :: step == STEPS -> break :: else fi;
     if
     :: watched == MANY_ROWS && owner == me && many[step] -> store(PLAIN, step + 1)
     :: else
     fi;
     hand_over(0);
     take(0);
     /* The state: reads the rows of the steps before, appends this step's. */
     if
     :: watched == ROWS_OF_STATE && owner != me && step > 0 -> loadAtLeast(PLAIN, step)
     :: watched == ROWS_OF_STATE && owner == me -> store(PLAIN, step + 1)
     :: else
     fi;
     hand_over(1);
     take(1);
     if
     :: DEFECT == 11 && watched == ROWS_OF_STATE && owner != me -> loadAtLeast(PLAIN, step + 1)
     :: else
     fi;
     /* The last op runs on all SMs but one, whose step a counter of its own closes. */
     if
     :: me < N - 1 ->
        if :: watched == LAST_VALUE && owner == me -> store(PLAIN, step + 1) :: else fi;
        if :: DEFECT == 9 && me != 0 -> count[LAST]++ :: else -> release(LAST) fi
     :: else ->
        if :: DEFECT == 9 -> count[CLOSE]++ :: else -> release(CLOSE) fi
     fi;
     if
     :: me == 0 ->
        acquire(LAST, (N - 1) * (step + 1));
        if :: DEFECT != 3 -> acquire(CLOSE, step + 1) :: else fi;
        if :: watched == LAST_VALUE && owner != me -> load(PLAIN, step + 1) :: else fi;
        if :: many[step + 1] = 0 :: many[step + 1] = 1 fi;
        if :: watched == NEXT_STEP -> store(PLAIN, step + 1) :: else fi;
        release(GATE)
     :: else
     fi;
     step++
  od
}

init {
  byte i;
  atomic {
    ${readGiven};
    if :: many[0] = 0 :: many[0] = 1 fi;
    do :: watched < NEXT_STEP -> watched++ :: break od;
    do :: watched != NEXT_STEP && owner < N - 1 - (watched == LAST_VALUE) -> owner++ :: break od;
    if
    :: DEFECT == 12 ->
       do :: i < PLAIN -> HELD(i, 0) = 99; i++ :: else -> i = 0; break od
    :: else
    fi;
    do :: i < N -> run sm(i); i++ :: else -> break od
  }
}
`;
