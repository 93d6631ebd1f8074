// The machinery of one SM: shared-memory map, waits with a watchdog, the weight ring, the
// instruction list. Constants named k... come from the emitter.

// A launch's tunables and pointers are in Params; what changes every step is in StepInfo.
struct StepInfo {
  u32 tokens;    // tokens in this step
  u32 position;  // position of the first of them
  u32 stop;      // 1: the launch is over
  u32 produced;  // tokens generated before this step
  i32 ids[kMaxTokens];
};

// What the first wait of this SM that gave up was waiting for.
struct Stuck {
  u32 rank;  // 0: none; higher for an earlier step and op
  u32 kind, instruction, op, event, expected, seen, step;
};

// A place in an SM's rolled instruction list: each word grows by its delta from one repeat of a run to the
// next. Its functions are in decode.cuh, behind the tables.
struct Cursor {
  const u32* run;
  u32 runs;
  u32 first, words, repeats;  // of the run
  u32 repeat;
  u32 word;

  MPK_DEVICE void reset(u32 sm);
  MPK_DEVICE void enter();
  MPK_DEVICE void next(u32 size);
  MPK_DEVICE bool done() const { return runs == 0; }
  MPK_DEVICE u32 at(u32 i) const;  // the word i from here
};

// What of shared memory is not ring, activations or partial sums.
struct Shared {
  u64 full[kStages];
  u64 empty[kStages];
  //past: u64 opened;  // a phase a step: the producer may read the step
  //past: u64 appended;  // a phase each time that it reads rows of this step
  StepInfo step;
  u32 instruction[3][kInstructionWords];  // the current one and the next two
  Cursor cursor;  // of the warp that fetches them
  alignas(16) float reduce[64];  // sampling adds 64-bit sums in it
  float scale[16];
  i32 pages[kSharedPages];  // the first entries of the page table
  Stuck stuck;
  alignas(16) u32 zeros[4];
  u32 aborted;  // this SM saw a time-out, its own or another's
  u32 leave;    // the launch is over: the producer drains and goes
  //hold: u32 hold;  // the place behind which nothing is copied for a while; 0: none
  //flags: u32 manySteps;   // steps of several tokens so far, the current one among them
  //flags: u32 copyOffset;  // of the copy of flagged values that a step of one token uses
  //profile: u32 marks[4][kProfileWords];  // of the instructions that run, and of those before
};

static_assert(kConsumerWarps >= 2 && kStages % kConsumerWarps == 0, "see find_crossing, Producer");
static_assert(sizeof(Shared) <= kSharedReserve, "the plan reserves too little shared memory");

// Everything a task body needs. One per thread, in registers.
struct Context {
  const Params* params;
  Shared* shared;
  u8* ring;
  u8* work;  // activations, then the two partial buffers
  u32 thread;
  u32 warp;
  u32 lane;
  u32 sm;
  u32 step;
  u32 position;  // of the step's first token
  u32 tokens;
  u32 chunk;  // chunks of this SM's stream consumed before the current task
  u32 instruction;  // position in this SM's list, for reports
};

// The words of instruction `i` of this SM's list.
MPK_DEVICE u32* instruction_words(const Context& c, u32 i) { return c.shared->instruction[i % 3]; }

MPK_DEVICE u32* control_word(const Params& p, u32 index) {
  return reinterpret_cast<u32*>(p.control) + index;
}
MPK_DEVICE u32* abort_word(const Params& p) { return reinterpret_cast<u32*>(p.events); }
MPK_DEVICE u32* event_counter(const Params& p, u32 event) {
  //flags: event &= ~kManyOnly;
  return reinterpret_cast<u32*>(p.events + (event + 1) * kEventStride);
}

// ---- the watchdog ------------------------------------------------------------------------------
// A thread gives up: remembers why, once per SM, and tells the earliest op so far to all SMs. The
// wait that is earliest in the program is the cause, the others its consequences.
MPK_DEVICE void give_up(const Context& c, Stuck& stuck, u32 kind, u32 event, u32 expected,
                        u32 seen) {
  const u32 op = instruction_words(c, c.instruction)[kWordOp];
  // The producer runs ahead: its waits count only where there is no other.
  const bool consumer = c.warp < kConsumerWarps;
  const u32 rank = consumer ? ~((c.step & 0x7fffu) << 16 | (op & 0xffffu)) : 1u;
  if (compare_swap_shared(&stuck.rank, 0, rank) == 0) {
    stuck.kind = kind;
    stuck.instruction = c.instruction;
    stuck.op = op;
    stuck.event = event;
    stuck.expected = expected;
    stuck.seen = seen;
    stuck.step = c.step;
    maximum_gpu(abort_word(*c.params) + 1, rank);
  }
}

// One thread of each SM that leaves after an abort: that of the earliest wait writes the report.
MPK_DEVICE void write_report(const Context& c, const Stuck& stuck) {
  const Params& p = *c.params;
  // Long enough for all SMs to have seen the abort.
  for (const u64 since = now_nanos(); now_nanos() - since < 2000000;) {
  }
  u32* words = abort_word(p);
  if (stuck.rank == 0 || load_relaxed_gpu(words + 1) != stuck.rank) return;
  if (compare_swap_gpu(words + 2, 0, 1) != 0) return;
  store_release_system(control_word(p, kControlReportKind), stuck.kind);
  store_release_system(control_word(p, kControlReportSm), c.sm);
  store_release_system(control_word(p, kControlReportInstruction), stuck.instruction);
  store_release_system(control_word(p, kControlReportOp), stuck.op);
  store_release_system(control_word(p, kControlReportEvent), stuck.event);
  store_release_system(control_word(p, kControlReportExpected), stuck.expected);
  store_release_system(control_word(p, kControlReportSeen), stuck.seen);
  store_release_system(control_word(p, kControlReportStep), stuck.step);
  store_release_system(control_word(p, kControlStatus), kStatusWatchdog);
}

// Called now and then by every waiting loop; true: give up. `since` is 0 before the first call.
MPK_DEVICE bool waited_too_long(const Context& c, u64& since, u32 kind, u32 event, u32 expected,
                                u32 seen) {
  if (load_relaxed_gpu(abort_word(*c.params)) == 0) {
    const u64 now = now_nanos();
    if (since == 0) since = now;
    if (now - since < c.params->watchdogNanos) return false;
    store_relaxed_gpu(abort_word(*c.params), 1);
  }
  give_up(c, c.shared->stuck, kind, event, expected, seen);
  *static_cast<volatile u32*>(&c.shared->aborted) = 1;
  return true;
}

MPK_DEVICE bool is_aborted(const Context& c) {
  return *static_cast<volatile u32*>(&c.shared->aborted) != 0;
}

// One thread: waits until the counter has reached `target`.
MPK_DEVICE void wait_event(Context& c, u32 event, u32 target) {
  const u32* counter = event_counter(*c.params, event);
  u64 since = 0;
  u32 seen = load_acquire_gpu(counter);
  for (u32 spins = 1; static_cast<i32>(seen - target) < 0; spins++) {
    if ((spins & 255u) == 0 && waited_too_long(c, since, kReportEvent, event, target, seen)) return;
    seen = load_acquire_gpu(counter);
  }
}

// Until the phase with this parity is complete.
MPK_DEVICE bool wait_barrier(Context& c, u64* bar, u32 parity, u32 kind, u32 chunk) {
  if (mbarrier_test(bar, parity)) return true;
  if (is_aborted(c)) return false;  // each test may suspend for microseconds: leave at once
  u64 since = 0;
  for (u32 spins = 1; !mbarrier_test(bar, parity); spins++) {
    if ((spins & 63u) == 0 && waited_too_long(c, since, kind, chunk, parity, parity ^ 1u)) {
      return false;
    }
  }
  return true;
}

// ---- task prologue and epilogue ----------------------------------------------------------------
MPK_DEVICE void consumer_barrier() { group_barrier(kConsumerThreads); }

//flags: // An event that steps of one token neither trigger nor await. Such events come last in lists.
//flags: MPK_DEVICE bool is_idle(const Context& c, u32 event) {
//flags:   return (event & kManyOnly) && c.tokens == 1;
//flags: }

//flags: // Whether the task has events to wait for in this step.
//flags: MPK_DEVICE bool awaits_events(const Context& c, const u32* in) {
//flags:   return in[kWordWaits] != 0 && !is_idle(c, in[kWordFirstWait]);
//flags: }

// Waits for the events of the current instruction. All consumer threads call.
MPK_DEVICE void begin_task(Context& c, const u32* in) {
  //profile: u32 ready = 0;
  if (c.thread == 0) {
    u32 count = in[kWordWaits];
#pragma unroll 1
    for (u32 i = 0; i < count; i++) {
      u32 event = in[kWordFirstWait + 2 * i];
      //flags: if (is_idle(c, event)) break;
      u32 epochs = (event & 0x80000000u) ? c.step : c.step + 1;
      //flags: if (event & kManyOnly) epochs = c.shared->manySteps;
      //flags: event &= ~kManyOnly;
      wait_event(c, event & 0x7fffffffu, in[kWordFirstWait + 2 * i + 1] * epochs);
    }
    //profile: ready = clock_word();
  }
  consumer_barrier();
  //profile: if (c.thread == 0) put_mark(c, kMarkReady, ready);
}

// Publishes the task's writes. All consumer threads call.
MPK_DEVICE void end_task(Context& c, const u32* in) {
  consumer_barrier();
  if (c.thread == 0 && !is_aborted(c)) {
    const u32* events = in + kWordFirstWait + 2 * in[kWordWaits];
#pragma unroll 1
    for (u32 i = 0; i < in[kWordSignals]; i++) {
      //flags: if (is_idle(c, events[i])) break;
      add_release_gpu(event_counter(*c.params, events[i]), 1);
    }
    //profile: mark(c, kMarkEnd);
  }
}
//flags: // The same where the next task may begin while warps of this one still hand over words: without a
//flags: // barrier if there is nothing to signal.
//flags: MPK_DEVICE void leave_task(Context& c, const u32* in) {
//flags:   const u32* events = in + kWordFirstWait + 2 * in[kWordWaits];
//flags:   if (in[kWordSignals] != 0 && !is_idle(c, events[0])) return end_task(c, in);
//flags: }

// Operand words follow the waits and the signals: inputs, outputs, states.
MPK_DEVICE const u32* operands(const u32* in) {
  return in + kWordFirstWait + 2 * in[kWordWaits] + in[kWordSignals];
}
template <class E> MPK_DEVICE E* in_scratch(const Context& c, u32 word) {
  return reinterpret_cast<E*>(c.params->scratch + static_cast<u64>(word) * 2);
}
template <class E> MPK_DEVICE const E* in_resident(const Context& c, u32 word) {
  return reinterpret_cast<const E*>(c.params->resident + static_cast<u64>(word) * 16);
}

MPK_DEVICE float load_resident(const u16* p) { return bf16_to_f32(load_const_u16(p)); }
MPK_DEVICE float in_shared(const u16* p) { return bf16_to_f32(*p); }
MPK_DEVICE float in_shared(const float* p) { return *p; }
MPK_DEVICE float load_resident(const float* p) {
  return bits_to_f32(load_const_u32(reinterpret_cast<const u32*>(p)));
}

// ---- the ring --------------------------------------------------------------------------------
MPK_DEVICE u8* stage_of(const Context& c, u32 chunk) {
  return c.ring + (chunk % kStages) * kStageBytes;
}
// Until a chunk's bytes are there.
MPK_DEVICE bool wait_chunk(Context& c, u32 chunk) {
  return wait_barrier(c, &c.shared->full[chunk % kStages], (chunk / kStages) & 1u, kReportStream,
                      chunk);
}
// A consumer warp's wait.
MPK_DEVICE bool wait_full(Context& c, u32 chunk) {
  //profile: if (mbarrier_look(&c.shared->full[chunk % kStages], (chunk / kStages) & 1u)) return true;
  //profile: const ChunkWait<Context> timed(c, chunk);
  return wait_chunk(c, chunk);
}
MPK_DEVICE void release_stage(const Context& c, u32 chunk) {
  warp_barrier();
  if (c.lane == 0) mbarrier_arrive(&c.shared->empty[chunk % kStages]);
}

// Chunk numbers start over before 32 bits do, where stage, parity and warp repeat.
constexpr u32 kChunkLap = kStages << 21;
MPK_DEVICE u32 start_over(u32 chunk) {
  return chunk < 2 * kChunkLap ? chunk : kChunkLap + chunk % kChunkLap;
}

//hold: // An instruction's place in the order in which an SM runs and streams: more is later.
//hold: MPK_DEVICE u32 place_of(const Context& c) { return (c.step << 12) + c.instruction + 1; }

// The producer (one thread with bulk copies, else a warp) copies this SM's stream into the ring, step
// after step, as far ahead as the ring holds, with at most kMaxInFlight chunks outstanding. It never
// looks at an activation.
struct Producer {
  u32 chunk;
  bool leaving;
  //past: u32 known;  // steps whose descriptor was read, the latest counted from 1
  //past: u32 appends;  // phases of `appended` so far
  //profile: FullLog full;

  MPK_DEVICE bool wait_empty(Context& c, u32 at) {
    u64* bar = &c.shared->empty[at % kStages];
    u32 parity = ((at / kStages) & 1u) ^ 1u;  // of the lap before
    //profile: if (mbarrier_look(bar, parity)) return true;
    //profile: full.begin();
    for (u32 spins = 1; !mbarrier_test(bar, parity); spins++) {
      if (*static_cast<volatile u32*>(&c.shared->leave)) return false;
      // A full ring is normal while consumers wait for activations: they own the watchdog.
      if ((spins & 1023u) == 0 && is_aborted(c)) return false;
    }
    //profile: full.end();
    return true;
  }

  //hold: // What comes behind attention leaves the way in to its keys and values. That task waits for
  //hold: // nothing that comes behind it anywhere.
  //hold: MPK_DEVICE bool gives_way(const Context& c) const {
  //hold:   const u32 place = *static_cast<volatile u32*>(&c.shared->hold);
  //hold:   return place != 0 && static_cast<i32>(place_of(c) - place) > 0;
  //hold: }
  //hold: MPK_DEVICE void give_way(const Context& c) {
  //hold:   if (!gives_way(c)) return;
  //hold:   //profile: full.begin();
  //hold:   while (gives_way(c) && !*static_cast<volatile u32*>(&c.shared->leave) && !is_aborted(c)) {
  //hold:     poll_pause();
  //hold:   }
  //hold:   //profile: full.end();
  //hold: }
  // Until the next stage may be filled; false: the producer leaves.
  MPK_DEVICE bool claim(Context& c) {
    if (leaving) return false;
    //hold: give_way(c);
    producer_barrier();  // a lane left behind by a lap would take an old phase for the new
    // The last chunk in flight is waited for last: from its arrival to the next copy is time lost.
    const bool vacant = chunk < kStages || wait_empty(c, chunk);
    const bool ready = vacant && (chunk < kMaxInFlight || wait_chunk(c, chunk - kMaxInFlight));
    leaving = !producer_all(ready);
    return !leaving;
  }

  MPK_DEVICE void copy(Context& c, const u8* src, u32 bytes) {
    if (!claim(c)) return;
    copy_to_stage(stage_of(c, chunk), src, bytes, &c.shared->full[chunk % kStages], c.lane);
    //profile: full.keep(c);
    chunk++;
  }
  //past: // A chunk of the cache, or, without bytes, an empty one.
  //past: MPK_DEVICE void copy_past(Context& c, const u8* src, u32 bytes) {
  //past:   if (!claim(c)) return;
  //past:   copy_past_to_stage(stage_of(c, chunk), src, bytes, &c.shared->full[chunk % kStages], c.lane);
  //past:   //profile: full.keep(c);
  //past:   chunk++;
  //past: }
  //past: MPK_DEVICE bool await_phase(Context& c, u64* bar, u32 phase) {
  //past:   producer_barrier();
  //past:   bool over = false;
  //past:   while (!over && !*static_cast<volatile u32*>(&c.shared->leave)) {
  //past:     over = mbarrier_test(bar, phase & 1u);
  //past:   }
  //past:   leaving = !producer_all(over);
  //past:   fence_async();
  //past:   return !leaving;
  //past: }
  //past: // Until this step is open: what steps before wrote may be copied, and the step is known.
  //past: MPK_DEVICE bool await_step(Context& c) {
  //past:   if (known == c.step + 1) return true;
  //past:   if (!await_phase(c, &c.shared->opened, c.step)) return false;
  //past:   known = c.step + 1;
  //past:   c.tokens = c.shared->step.tokens;
  //past:   c.position = c.shared->step.position;
  //past:   return true;
  //past: }
  //past: // Until this task has appended its rows.
  //past: MPK_DEVICE bool await_append(Context& c) {
  //past:   return await_phase(c, &c.shared->appended, appends++);
  //past: }

  // No copy may be in flight when the block ends.
  MPK_DEVICE void drain(Context& c) {
    u32 first = chunk > kMaxInFlight ? chunk - kMaxInFlight : 0;
    for (u32 i = first; i < chunk; i++) {
      while (!mbarrier_test(&c.shared->full[i % kStages], (i / kStages) & 1u)) {
      }
    }
  }
};
