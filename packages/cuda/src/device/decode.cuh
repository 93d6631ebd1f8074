// The decode kernel: one block per SM, resident for the whole generation. The last warp is the
// producer, all others consume. Both walk this SM's instruction list once per step.

// The list of an SM is stored rolled: `runs` of (first word, words, repeats); see Cursor.
MPK_DEVICE void Cursor::reset(u32 sm) {
  const u32 lo = load_const_u32(kRunStart + sm);
  run = kRuns + lo * 3;
  runs = load_const_u32(kRunStart + sm + 1) - lo;
  enter();
}
MPK_DEVICE void Cursor::enter() {
  repeat = word = 0;
  if (done()) return;
  first = load_const_u32(run);
  words = load_const_u32(run + 1);
  repeats = load_const_u32(run + 2);
}
MPK_DEVICE u32 Cursor::at(u32 i) const {
  const u32 index = first + word + i;
  return load_const_u32(kWords + index) + repeat * load_const_u32(kDeltas + index);
}
MPK_DEVICE void Cursor::next(u32 size) {
  word += size;
  if (word < words) return;
  word = 0;
  if (++repeat < repeats) return;
  run += 3;
  runs--;
  enter();
}

// What an instruction has the producer copy.
struct Share {
  u32 size;  // words of the instruction; 0: there is none
  u32 bytes;  // of a chunk
  u32 chunks;

  MPK_DEVICE void read(const Cursor& cursor) {
    size = 0;
    if (cursor.done()) return;
    const u32 body = cursor.at(kWordBody), tiles = cursor.at(kWordTileHi) - cursor.at(kWordTileLo);
    size = cursor.at(kWordSize);
    bytes = kBodyChunkBytes[body];
    chunks = tiles * kBodyTileChunks[body];
  }
};

// A producer that has nothing to copy: until the launch is over, or the watch.
MPK_DEVICE void keep_watch(const Context& c) {
  Watch watch = {};
  for (u32 spins = 1; !*static_cast<volatile u32*>(&c.shared->leave); spins++) {
    poll_pause();
    if (spins % (4 * kPatience) == 0 && watch.is_over(c)) return;
  }
}

// One thread of a producer whose watch is over: once a consumer has given up, tells all SMs how early in the
// program that was. Of those who gave up the earliest is the cause, the others are its consequences.
MPK_DEVICE void rank_stuck(const Context& c) {
  if (c.lane != 0) return;
  Stuck& stuck = c.shared->stuck;
  u32 place = 0;
  for (bool last = false; place == 0 && !last;) {
    poll_pause();
    last = *static_cast<volatile u32*>(&c.shared->leave);
    place = *static_cast<volatile u32*>(&stuck.place);
  }
  if (place == 0) return;
  Cursor cursor;
  cursor.reset(c.sm);
  for (u32 i = instruction_at(place); i > 0; i--) cursor.next(cursor.at(kWordSize));
  const u32 op = cursor.at(kWordOp);
  const u32 rank = ~((step_at(place) & 0x7fffu) << 16 | (op & 0xffffu));
  *static_cast<volatile u32*>(&stuck.op) = op;
  *static_cast<volatile u32*>(&stuck.rank) = rank;
  maximum_gpu(abort_word(*c.params) + 1, rank);
}

constexpr u64 kRankingNanos = 200000000;  // after an abort, all producers have ranked what they saw

// One thread of each SM that leaves after an abort: that of the earliest wait writes the report.
MPK_DEVICE void write_report(const Context& c, const Stuck& stuck) {
  const Params& p = *c.params;
  u32* words = abort_word(p);
  for (const u64 since = now_nanos(); now_nanos() - since < kRankingNanos;) poll_pause();
  const u32 rank = *static_cast<const volatile u32*>(&stuck.rank);
  if (rank == 0 || load_relaxed_gpu(words + 1) != rank) return;
  if (compare_swap_gpu(words + 2, 0, 1) != 0) return;
  store_release_system(control_word(p, kControlReportKind), stuck.kind);
  store_release_system(control_word(p, kControlReportSm), c.sm);
  store_release_system(control_word(p, kControlReportInstruction), instruction_at(stuck.place));
  store_release_system(control_word(p, kControlReportOp), stuck.op);
  store_release_system(control_word(p, kControlReportEvent), stuck.what);
  store_release_system(control_word(p, kControlReportExpected), stuck.expected);
  store_release_system(control_word(p, kControlReportSeen), stuck.seen);
  store_release_system(control_word(p, kControlReportStep), step_at(stuck.place));
  store_release_system(control_word(p, kControlStatus), kStatusWatchdog);
}

MPK_DEVICE void produce(Context& c) {
  Producer producer = {};
  producer.begin(c);
  while (!producer.leaving) {
    const u8* src = c.params->stream + kStreamBase[c.sm];
    Cursor cursor;
    cursor.reset(c.sm);
    Share share, next;
    share.read(cursor);
    for (; share.size != 0 && !producer.leaving; share = next) {
      //past: const Cursor at = cursor;
      cursor.next(share.size);
      next.read(cursor);  // no copy waits for words
      //past: produce_past(c, producer, at);
      //few: if (share.chunks > 0) producer.adapt(c);
      for (u32 i = 0; i < share.chunks && !producer.leaving; i++, src += share.bytes) {
        producer.copy(c, src, share.bytes);
      }
      c.instruction++;
    }
    if (!producer.streams) break;
    c.instruction = 0;
    c.step++;
  }
  keep_watch(c);
  if (is_aborted(c)) rank_stuck(c);
  producer.drain();
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
        gives_up(c, kReportEvent, kStepEvent, c.step, c.step);  // if nobody has before
        s.step.stop = 1;
        write_report(c, s.stuck);
      }
    }
    //few: *static_cast<volatile u32*>(&s.several) = s.step.tokens > 1;
    //flags: if (s.step.tokens == 1) s.copyOffset ^= kFlagCopyBytes; else s.manySteps++;
    if (s.step.stop) *static_cast<volatile u32*>(&s.leave) = 1;
    //past: else mbarrier_arrive(&s.opened);
  }
  consumer_barrier();
  c.tokens = s.step.tokens;
  c.position = s.step.position;
  return s.step.stop == 0;
}

// The last consumer warp fetches instructions two ahead: it asks for the words before a task and hands
// them over after it, so that nobody waits for them. An instruction without words ends the list.
struct Fetch {
  // Not where registers are few: the words would take some of them during the task.
  static constexpr bool kEarly = !kFewRegisters;
  static constexpr u32 kTurns = (kInstructionWords + 31) / 32;
  u32 repeat, words[kTurns], deltas[kTurns];

  MPK_DEVICE void ask(const Context& c) {
    const Cursor cursor = c.shared->cursor;
    repeat = cursor.repeat;
#pragma unroll
    for (u32 i = 0; i < kTurns; i++) {
      const u32 at = cursor.word + c.lane + 32 * i;
      words[i] = deltas[i] = 0;
      if (cursor.done() || at >= cursor.words) continue;
      words[i] = load_const_early(kWords + cursor.first + at);
      deltas[i] = load_const_early(kDeltas + cursor.first + at);
    }
  }
  MPK_DEVICE void take(Context& c, u32 instruction) {
    u32* to = instruction_words(c, instruction);
#pragma unroll
    for (u32 i = 0; i < kTurns; i++) {
      if (c.lane + 32 * i < kInstructionWords) to[c.lane + 32 * i] = words[i] + repeat * deltas[i];
    }
    warp_barrier();
    if (c.lane == 0 && !c.shared->cursor.done()) {
      *static_cast<volatile u32*>(&c.shared->place) = place_of(c);
      c.shared->cursor.next(to[kWordSize]);
    }
    warp_barrier();
  }
};

MPK_DEVICE void consume(Context& c) {
  const bool fetches = c.warp == kConsumerWarps - 1;
  Fetch fetch;
  c.chunk = 0;
  for (c.step = 0;; c.step++) {
    if (fetches) {
      if (c.lane == 0) c.shared->cursor.reset(c.sm);
      warp_barrier();
      for (u32 i = 0; i < 2; i++) {
        fetch.ask(c);
        fetch.take(c, i);
      }
    }
    c.instruction = 0;
    //profile: if (c.thread == 0) mark_step(c, kStepMarkArrived, kStepMarkArrivedNanos);
    if (!open_step(c)) return;
    //profile: if (c.thread == 0) mark_step(c, kStepMarkOpened, 0);
    for (;; c.instruction++) {
      const u32* in = instruction_words(c, c.instruction);
      if (in[kWordSize] == 0) break;
      if (fetches && Fetch::kEarly) fetch.ask(c);
      //profile: if (c.thread == 0) mark(c, kMarkStart);
      //profile: if (c.instruction > 1) keep_marks(c, c.instruction - 2);
      run_body(c, in);
      if (fetches && !Fetch::kEarly) fetch.ask(c);
      if (fetches) fetch.take(c, c.instruction + 2);
    }
    //profile: if (c.thread == 0) mark_step(c, kStepMarkDone, kStepMarkDoneNanos);
    c.chunk = start_over(c.chunk);
    consumer_barrier();  // nobody looks at this step's instructions, or its copies, any more
    //profile: if (c.instruction > 1) keep_marks(c, c.instruction - 2);
    //profile: if (c.instruction > 0) keep_marks(c, c.instruction - 1);
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
    for (u32 i = 0; i < 4; i++) c.shared->zeros[i] = 0;
    c.shared->place = 0;
    c.shared->aborted = 0;
    c.shared->stuck.place = c.shared->stuck.rank = 0;
    c.shared->leave = 0;
    //few: c.shared->several = 0;
    //hold: c.shared->hold = 0;
    //flags: c.shared->manySteps = 0;
    //profile: for (u32 i = 0; i < 4 * kProfileWords; i++) (&c.shared->marks[0][0])[i] = 0;
    //flags: c.shared->copyOffset = kFlagCopyBytes;  // the first step of one token turns it to 0
  }
  for (u32 i = c.thread; i < kSharedPages && i < kPages; i += block_threads()) {
    c.shared->pages[i] = load_i32(reinterpret_cast<const i32*>(params.pageTable) + i);
  }
  block_barrier();
  if (kRunStart[c.sm] == kRunStart[c.sm + 1]) return;  // no tasks on this SM
  if (c.warp >= kConsumerWarps) {
    give_registers<kProducerRegisters>();
    if (c.warp == kConsumerWarps && c.lane < MPK_PRODUCER_LANES) produce(c);
  } else {
    take_registers<kConsumerRegisters>();
    consume(c);
  }
}
