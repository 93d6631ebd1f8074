// The machinery of one SM: shared-memory map, waits with a watchdog, the instruction list. Constants named
// k... come from the emitter.

// A consumer has what the compiler gives every thread, 168 at most: this GPU's warps do not trade registers.
constexpr bool kFewRegisters = kConsumerRegisters < 200;

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
  u32 place;  // see place_of
  u32 kind, what, expected, seen;
  u32 op, rank;  // by the producer: higher for an earlier step and op
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
  u64 empty[kStages];  // right behind: see RingPlace
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
  u32 place;    // of the instruction that the consumers are at
  u32 aborted;  // a watch is over, this SM's or another's
  u32 leave;    // the launch is over: the producer drains and goes
  //few: u32 several;  // this is a step of several tokens
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
// The producer keeps the time: while consumers wait for ever, so does it, for room or for a copy.
// Consumers look at `aborted` alone: a layer has dozens of waits, and an SM keeps little text near.
MPK_DEVICE bool is_aborted(const Context& c) {
  return *static_cast<volatile u32*>(&c.shared->aborted) != 0;
}

// An instruction's place in the order in which an SM runs and streams: more is later, 0 none.
MPK_DEVICE u32 place_of(const Context& c) { return (c.step << kPlaceBits) + c.instruction + 1; }
MPK_DEVICE u32 step_at(u32 place) { return (place - 1) >> kPlaceBits; }
MPK_DEVICE u32 instruction_at(u32 place) { return (place - 1) & ((1u << kPlaceBits) - 1); }

// A wait of the producer. Now and then it asks whether the watch is over: for all SMs, once the consumers
// of one have been at the same instruction for too long.
struct Watch {
  u64 since;  // 0: not asked yet
  u32 place;

  MPK_DEVICE bool is_over(const Context& c) {
    if (is_aborted(c)) return true;
    if (load_relaxed_gpu(abort_word(*c.params)) == 0) {
      const u64 now = now_nanos();
      const u32 at = *static_cast<volatile u32*>(&c.shared->place);
      if (since == 0 || at != place) since = now;
      place = at;
      if (now - since < c.params->watchdogNanos) return false;
      store_relaxed_gpu(abort_word(*c.params), 1);
    }
    *static_cast<volatile u32*>(&c.shared->aborted) = 1;
    return true;
  }
};

// Called now and then by every loop in which a consumer waits; true: give up. The SM's first thread to
// do so says what for.
MPK_DEVICE bool gives_up(const Context& c, u32 kind, u32 what, u32 expected, u32 seen) {
  if (!is_aborted(c)) return false;
  Stuck& stuck = c.shared->stuck;
  if (compare_swap_shared(&stuck.place, 0, place_of(c)) == 0) {
    stuck.kind = kind;
    stuck.what = what;
    stuck.expected = expected;
    stuck.seen = seen;
  }
  return true;
}

// One thread: waits until the counter has reached `target`.
MPK_DEVICE void wait_event(Context& c, u32 event, u32 target) {
  const u32* counter = event_counter(*c.params, event);
  u32 seen = load_acquire_gpu(counter);
  for (u32 spins = 1; static_cast<i32>(seen - target) < 0; spins++) {
    if (spins % kPatience == 0 && gives_up(c, kReportEvent, event, target, seen)) return;
    seen = load_acquire_gpu(counter);
  }
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
