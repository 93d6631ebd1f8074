// The decode kernel: one block per SM, resident for the whole generation. The last warp is the
// producer, all others consume. Both walk this SM's instruction list once per step.

// The list is stored rolled: `runs` of (first word, words, repeats), each word growing by its
// delta from one repeat to the next. A Cursor unrolls it.
struct Cursor {
  const u32* run;
  u32 runs;
  u32 first, words, repeats;  // of the run
  u32 repeat;
  u32 word;

  MPK_DEVICE void reset(u32 sm) {
    u32 lo = kRunStart[sm];
    run = kRuns + lo * 3;
    runs = kRunStart[sm + 1] - lo;
    repeat = 0;
    word = 0;
    begin();
  }
  MPK_DEVICE void begin() {
    if (runs == 0) return;
    first = run[0];
    words = run[1];
    repeats = run[2];
  }
  MPK_DEVICE bool done() const { return runs == 0; }
  MPK_DEVICE u32 at(u32 i) const {
    u32 index = first + word + i;
    return load_const_u32(kWords + index) + repeat * load_const_u32(kDeltas + index);
  }
  MPK_DEVICE void next(u32 size) {
    word += size;
    if (word < words) return;
    word = 0;
    if (++repeat < repeats) return;
    repeat = 0;
    run += 3;
    runs--;
    begin();
  }
};

MPK_DEVICE void produce(Context& c) {
  Producer producer = {};
  while (!producer.leaving) {
    const u8* src = c.params->stream + kStreamBase[c.sm];
    Cursor cursor;
    for (cursor.reset(c.sm); !cursor.done() && !producer.leaving; cursor.next(cursor.at(kWordSize))) {
      const u32 body = cursor.at(kWordBody), bytes = kBodyChunkBytes[body];
      const u32 count = (cursor.at(kWordTileHi) - cursor.at(kWordTileLo)) * kBodyTileChunks[body];
      //past: produce_past(c, producer, cursor);
      for (u32 i = 0; i < count && !producer.leaving; i++, src += bytes) {
        producer.copy(c, src, bytes);
      }
      // Whoever gave up with rank 1 is this producer, which alone knows what it was copying for.
      if (producer.leaving && c.shared->stuck.rank == 1u) c.shared->stuck.op = cursor.at(kWordOp);
      c.instruction++;
    }
    if (producer.chunk == 0) break;  // this SM streams nothing
    producer.chunk = start_over(producer.chunk);
    c.instruction = 0;
    c.step++;
  }
  producer.drain(c);
}

// Waits for the step to open; false: the launch is over.
MPK_DEVICE bool open_step(Context& c) {
  Shared& s = *c.shared;
  const Params& p = *c.params;
  if (c.thread == 0) {
    if (c.step == 0) {
      s.step.tokens = p.promptCount < p.promptChunk ? p.promptCount : p.promptChunk;
      s.step.position = p.startPosition;
      s.step.stop = 0;
      s.step.produced = 0;
      for (u32 i = 0; i < s.step.tokens; i++) {
        s.step.ids[i] = load_i32(reinterpret_cast<const i32*>(p.prompt) + i);
      }
    } else {
      wait_event(c, kStepEvent, c.step);
      const u32* from = reinterpret_cast<const u32*>(
          reinterpret_cast<const StepInfo*>(p.steps) + (c.step & 1u));
      u32* to = reinterpret_cast<u32*>(&s.step);
      // Up to eight ids in one latency; of more, those that there are.
      constexpr u32 kAll = sizeof(StepInfo) / 4, kAtOnce = kAll < 12 ? kAll : 12;
      for (u32 i = 0; i < kAtOnce; i++) to[i] = load_u32(from + i);
      if (kAll > kAtOnce) {
        for (u32 i = kAtOnce; i < 4 + s.step.tokens; i++) to[i] = load_u32(from + i);
      }
      if (is_aborted(c)) {
        s.step.stop = 1;
        write_report(c, s.stuck);
      }
    }
    //flags: if (s.step.tokens == 1) s.copyOffset ^= kFlagCopyBytes; else s.manySteps++;
    if (s.step.stop) *static_cast<volatile u32*>(&s.leave) = 1;
    //past: else mbarrier_arrive(&s.opened);
  }
  consumer_barrier();
  c.tokens = s.step.tokens;
  c.position = s.step.position;
  return s.step.stop == 0;
}

// Warp 0 keeps one instruction ahead, so that no task waits for its own words. How many it has is not
// known yet: what follows comes along.
MPK_DEVICE void fetch(Context& c, const Cursor& cursor) {
  c.ahead = Ahead{};
  if (c.warp != 0 || cursor.done()) return;
  c.ahead.repeat = cursor.repeat;
#pragma unroll
  for (u32 i = 0; i < kInstructionRounds; i++) {
    u32 at = cursor.first + cursor.word + 32 * i + c.lane;
    if (at >= sizeof(kWords) / 4) at = 0;
    c.ahead.words[i] = load_const_early(kWords + at);
    c.ahead.deltas[i] = load_const_early(kDeltas + at);
  }
}

MPK_DEVICE void consume(Context& c) {
  c.chunk = 0;
  for (c.step = 0;; c.step++) {
    Cursor cursor;
    cursor.reset(c.sm);
    c.instruction = 0;
    fetch(c, cursor);
    if (c.warp == 0) c.ahead.store(c.shared->instruction[0], c.lane);
    //profile: if (c.thread == 0) mark_step(c, kStepMarkArrived, kStepMarkArrivedNanos);
    if (!open_step(c)) return;
    //profile: if (c.thread == 0) mark_step(c, kStepMarkOpened, 0);
    while (!cursor.done()) {
      const u32* in = c.shared->instruction[c.instruction & 1u];
      cursor.next(in[kWordSize]);
      fetch(c, cursor);
      //profile: if (c.thread == 0) mark(c, kMarkStart);
      run_body(c, in);
      c.instruction++;
    }
    //profile: if (c.instruction > 1) keep_marks(c, 0, c.instruction - 2);
    //profile: if (c.instruction > 0) keep_marks(c, 0, c.instruction - 1);
    //profile: if (c.thread == 0) mark_step(c, kStepMarkDone, kStepMarkDoneNanos);
    c.chunk = start_over(c.chunk);
  }
}

MPK_KERNEL void __launch_bounds__(kThreads, 1) mpk_decode(const __grid_constant__ Params params) {
  MPK_SHARED_MEMORY(memory);
  Context c;
  c.params = &params;
  c.ring = memory;
  c.work = memory + kStages * kStageBytes;
  c.shared = reinterpret_cast<Shared*>(c.work + kWorkBytes);
  c.thread = thread_index();
  c.warp = c.thread / 32;
  c.lane = c.thread % 32;
  c.sm = block_index();
  c.step = c.position = c.tokens = c.chunk = c.instruction = 0;
  if (c.thread == 0) {
    for (u32 i = 0; i < kStages; i++) {
      mbarrier_init(&c.shared->full[i], MPK_FULL_ARRIVALS);
      mbarrier_init(&c.shared->empty[i], 1);
    }
    //past: mbarrier_init(&c.shared->opened, 1);
    //past: mbarrier_init(&c.shared->appended, 1);
    mbarrier_init_fence();
    c.shared->aborted = 0;
    c.shared->stuck.rank = 0;
    c.shared->leave = 0;
    //flags: c.shared->manySteps = 0;
    //flags: c.shared->copyOffset = kFlagCopyBytes;  // the first step of one token turns it to 0
    //profile: for (u32 i = 0; i < kProfileSlots * kProfileWords; i++) (&c.shared->marks[0][0])[i] = 0;
  }
  for (u32 i = c.thread; i < kSharedPages && i < kPages; i += block_threads()) {
    c.shared->pages[i] = load_i32(reinterpret_cast<const i32*>(params.pageTable) + i);
  }
  block_barrier();
  if (kRunStart[c.sm] == kRunStart[c.sm + 1]) return;  // no tasks on this SM
  if (c.warp == kConsumerWarps) {
    if (c.lane < MPK_PRODUCER_LANES) produce(c);
  } else {
    consume(c);
  }
}
