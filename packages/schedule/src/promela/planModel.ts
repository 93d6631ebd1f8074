/** @file The Promela text of the plan model: a fixed body that reads a plan as tables. */

/**
 * What one search covers: all interleavings of the SMs for some steps, with one unit of memory (a
 * cell, picked at the start) modelled as the hardware may show it. Control never depends on what a
 * cell holds as long as no assertion fails, so watching the cells one at a time shows whatever
 * watching all of them together would.
 *
 * Between two touches of the cell an SM runs without a break, until a wait stops it. Where every
 * wait is for all triggers that loses nothing: counters only grow, so a wait that is over stays
 * over with the same outcome, and signals that come earlier only let others do more. Plans with
 * other counts run one task at a time (`merges` is 0).
 */
export const planBody = `
/* What a task does to a cell. */
#define READ     0  /* expects what this step's writer of \`value\` left */
#define WRITE    1
#define PAST     2  /* expects the rows that the steps before appended */
#define APPENDED 3  /* expects this step's rows */
#define APPEND   4
#define OPEN     5  /* writes the descriptor of the next step */
/* A flagged value: plain memory in steps of several tokens, else words in two copies. */
#define READ_MANY  6
#define WRITE_MANY 7
#define POLL       8  /* and 9: in this copy, expects the sentinel or this step's word */
#define WORD      10  /* and 11: stores the word in its copy, the sentinel in the other */

/* What kind of memory a cell is. */
#define SCRATCH    0
#define KV         1  /* \`part\`: the step whose rows are watched */
#define DESCRIPTOR 2  /* \`part\`: which of the two */
#define STREAM     3  /* no memory: the chunks of SM \`part\`, sent against taken */

#define sms       counts[0]
#define slots     counts[1]
#define cells     counts[2]
#define hasEffect counts[3]
#define hasKinds  counts[4]
#define merges    counts[5]

#define VERSION(value) ((value) * STEPS + step + 1)
#define KNOWN(event, epoch) known[(event) * (STEPS + 1) + (epoch)]
#define EPOCH(event) (step + 1 - crossStep[event] - ones * manyOnly[event])
/* Many-only events rest in steps of one token. */
#define RESTS(event) (manyOnly[event] && one[step])

/* The watched cell. Every store is kept: a load may return any one that is not older than the SM
   has seen by program order or has acquired. So a store shows late, to each SM at its own time,
   and in no order with stores to other cells. */
short watch, part;
short held[HISTORY];
byte top;
byte seen[SMS];
/* A load binds late: until the SM's next release it may still return what is stored meanwhile. */
short due[SMS];
byte dueFrom[SMS];

/* Which steps are of one token, and how often each task has stored its flagged words. */
bit one[STEPS + 1];
byte stored[WRITERS];

/* Counters. A release hands on what the SM has seen, and what it has acquired from others. */
byte count[EVENTS];
byte joined[EVENTS];
byte known[EVENTS * (STEPS + 1)];  /* what a wait that is just satisfied acquires */

/* A negative version is that of a word: the sentinel, 0, will do. */
inline expect(version, from) {
  x = from;
  do
  :: x <= top ->
     assert(held[x] == (version) ||
            ((version) < 0 && (held[x] == 0 || held[x] + (version) == 0)));
     x++
  :: else -> break
  od;
  x = 0
}

inline settle() {
  if :: due[me] != 0 -> expect(due[me], dueFrom[me]); due[me] = 0; dueFrom[me] = 0 :: else fi
}

inline store(version) {
  d_step {
    settle();
    assert(top < HISTORY - 1);
    top++;
    held[top] = version;
    seen[me] = top
  }
}

inline load(version) {
  d_step {
    if :: due[me] != (version) -> settle(); due[me] = version; dueFrom[me] = seen[me] :: else fi;
    expect(version, seen[me])
  }
}

inline acquire(event) {
  RESTS(event) || count[event] >= threshold[event] * EPOCH(event);
  if
  :: !RESTS(event) && KNOWN(event, EPOCH(event)) > seen[me] ->
     seen[me] = KNOWN(event, EPOCH(event))
  :: else
  fi
}

inline release(event) {
  d_step {
    settle();
    if :: seen[me] > joined[event] -> joined[event] = seen[me] :: else fi;
    count[event]++;
    if
    :: threshold[event] > 0 && count[event] % threshold[event] == 0 &&
       count[event] / threshold[event] <= STEPS ->
       KNOWN(event, count[event] / threshold[event]) = joined[event]
    :: else
    fi
  }
}

inline touch(kind, value) {
  if
  :: kind == READ || (kind == READ_MANY && !one[step]) -> load(VERSION(value))
  :: kind == WRITE || (kind == WRITE_MANY && !one[step]) -> store(VERSION(value))
  :: kind == POLL + (ones & 1) && one[step] -> load(-VERSION(value))
  :: kind >= WORD && one[step] ->
     store((kind == WORD + (ones & 1)) * VERSION(value))
  :: kind == PAST && step > part -> load(1)
  :: kind == APPENDED && step == part -> load(1)
  :: kind == APPEND && step == part -> store(1)
  :: kind == OPEN && ((step + 1) & 1) == part -> store(step + 2)
  :: else
  fi
}

#define TOUCH touchStart[watch * slots + slot]
#define TOUCH_END touchStart[watch * slots + slot + 1]

proctype sm(byte me) {
  short slot, at;
  byte step, ones, x;
  bit back;
  slot = orderStart[me];
  if :: orderStart[me] == orderStart[me + 1] -> goto gone :: else fi;
opening:
  atomic {
    at = waitStart[slot];
    do
    :: at < openEnd[me] && (step < STEPS || hasEffect) -> acquire(waitEvent[at]); at++
    :: else -> break
    od;
    if :: cellKind[watch] != DESCRIPTOR || (step & 1) != part -> goto entered :: else fi
  };
  load(step + 1);
entered:
  atomic { if :: step == STEPS -> goto gone :: else -> goto task fi };
task:
  atomic {
    do
    :: at < waitStart[slot + 1] -> acquire(waitEvent[at]); at++
    :: else -> break
    od;
    at = pollStart[slot];
    do
    :: at < pollStart[slot + 1] && one[step] -> stored[pollWriter[at]] > ones; at++
    :: else -> break
    od;
    if
    :: one[step] && writerOf[slot] > 0 -> stored[writerOf[slot]]++
    :: else
    fi;
    back = 0;
    at = TOUCH;
    if :: merges && TOUCH_END == TOUCH -> goto signals :: else fi
  };
  /* Several touches of the cell by one task: its threads run them in any order. */
  if :: TOUCH_END - TOUCH > 1 -> back = 1; at = TOUCH_END - 1 :: true fi;
  do
  :: at >= TOUCH && at < TOUCH_END ->
     atomic {
       printf("step %d: SM %d, slot %d touches cell %d\\n", step, me, slot, watch);
       touch(touchKind[at], touchValue[at]);
       if :: back -> at-- :: else -> at++ fi
     }
  :: else -> break
  od;
signals:
  atomic {
    printf("step %d: SM %d, slot %d is done\\n", step, me, slot);
    at = signalStart[slot];
    do
    :: at < signalStart[slot + 1] && !RESTS(signalEvent[at]) -> release(signalEvent[at]); at++
    :: at < signalStart[slot + 1] && RESTS(signalEvent[at]) -> at++
    :: else -> break
    od;
    slot++;
    if
    :: slot == orderStart[me + 1] -> 
       slot = orderStart[me];
       ones = ones + one[step];
       step++;
       at = 0;
       goto opening
    :: else -> at = waitStart[slot]; goto task
    fi
  };
gone:
  skip;
  d_step { settle() }
}

/* The producer sends the SM's packed stream over and over; tasks take their chunks in order. */
proctype stream(byte me) {
  short at, sent;
  byte step;
  do
  :: step < STEPS ->
     at = takeStart[me];
     do
     :: at < takeStart[me + 1] ->
        imageStart[me] < imageStart[me + 1];  /* else it waits for ever */
        assert(image[imageStart[me] + sent] == take[at]);
        sent = (sent + 1) % (imageStart[me + 1] - imageStart[me]);
        at++
     :: else -> break
     od;
     step++
  :: else -> break
  od
}

init {
  byte i;
  atomic {
    LOAD
    do
    :: i < STEPS -> i++; if :: hasKinds -> one[i - 1] = 1 :: true fi
    :: else -> i = 0; break
    od;
    do :: watch < cells - 1 -> watch++ :: break od;
    if
    :: cellKind[watch] == KV -> do :: part < STEPS - 2 -> part++ :: break od
    :: cellKind[watch] == DESCRIPTOR -> part = cellPart[watch]; held[0] = 1 - part
    :: else -> part = cellPart[watch]
    fi;
    if
    :: cellKind[watch] == STREAM -> run stream(part)
    :: else -> do :: i < sms -> run sm(i); i++ :: else -> break od
    fi
  }
}
`;
