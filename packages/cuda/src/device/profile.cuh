// Times of each instruction, only in kernels emitted with `profile`: lines of the other files that
// are marked so call in here. A mark is a reading of the SM's own clock, which stays in a register until
// the task's outputs are on their way, and then a store to memory that nobody waits for: no barrier, no
// branch between a task's inputs and its outputs. Steps that are not kept read clocks too, which costs less
// than to ask, and store nothing. Two pairs of clock and %globaltimer a step, read while the SM has nothing
// to do, tell the host when it was.

MPK_DEVICE u32 clock_word() { return static_cast<u32>(now_clocks()); }

// kProfileWords words per step, SM and record; record 0 is the step's own. The word where the records of
// instructions of this step begin; 0: it is not kept.
template <class C> MPK_DEVICE u32 marks_of_step(const C& c) {
  const u32 step = c.step - c.params->profileFirst;
  if (step >= c.params->profileSteps) return 0;
  return ((step * kProfileSms + c.sm) * kProfileRecords + 1) * kProfileWords;
}
template <class C> MPK_DEVICE void keep_mark(const C& c, u32 which, u32 at) {
  if (c.marks == 0) return;
  reinterpret_cast<u32*>(c.params->profile)[c.marks + c.instruction * kProfileWords + which] = at;
}
// A thread's own, now.
template <class C> MPK_DEVICE void mark(const C& c, u32 which) { keep_mark(c, which, clock_word()); }
// Of all threads, read before; by a warp that seldom has outputs and, unlike the last one, fetches nothing.
template <class C> MPK_DEVICE void mark_aside(const C& c, u32 which, u32 at) {
  if (c.thread == kConsumerThreads - 64) keep_mark(c, which, at);
}
// What tile `tile` of the task depends on was there at `at`; that of its first tile counts.
template <class C> MPK_DEVICE void mark_ready(const C& c, u32 tile, u32 at) {
  if (c.thread != kConsumerThreads - 64) return;
  if (tile == instruction_words(c, c.instruction)[kWordTileLo]) keep_mark(c, kMarkReady, at);
}

// Of the step; in words `nanos` and behind it, unless 0, the clock of all SMs, an H200's in 32 ns.
template <class C> MPK_DEVICE void mark_step(const C& c, u32 which, u32 nanos) {
  if (c.marks == 0) return;
  u32* record = reinterpret_cast<u32*>(c.params->profile) + c.marks - kProfileWords;
  const u64 now = nanos == 0 ? 0 : now_nanos();
  record[which] = clock_word();
  if (nanos == 0) return;
  record[nanos] = static_cast<u32>(now);
  record[nanos + 1] = static_cast<u32>(now >> 32);
}

// A consumer warp's wait for a chunk that is missing, in registers until the task is over: the end of that
// for the task's first one, and the sum of those for others.
template <class C> struct ChunkWait {
  C& c;
  const u32 chunk;
  const bool there;
  u32 since = 0;

  MPK_DEVICE ChunkWait(C& context, u32 at)
      : c(context),
        chunk(at),
        there(mbarrier_look(&c.shared->full[at % kStages], (at / kStages) & 1u)) {
    if (!there) since = clock_word();
  }
  MPK_DEVICE ~ChunkWait() {
    if (there) return;
    const u32 now = clock_word();
    if (chunk != c.chunk) {
      c.stalled += now - since;
    } else if (c.warp == chunk % kConsumerWarps) {
      c.data = now;
    }
  }
};
// Behind a task.
template <class C> MPK_DEVICE void keep_waits(C& c) {
  if (c.lane == 0 && c.data != 0) keep_mark(c, kMarkData, c.data);
  if (c.thread == 0 && c.stalled != 0) keep_mark(c, kMarkStalled, c.stalled);
  c.data = c.stalled = 0;
}

// The producer's waits for a free stage, logged as (begin, length) once the copy that waited is on its
// way. The producer is ahead of the steps that consumers profile: by as many laps as the ring holds, of
// a chunk at least.
struct FullLog {
  u32 logged, since, waited;

  // Of waits one after another, the first.
  MPK_DEVICE void begin() {
    if (waited == 0) since = clock_word();
  }
  MPK_DEVICE void end() { waited = clock_word() - since; }
  template <class C> MPK_DEVICE void keep(const C& c) {
    const u32 length = waited;
    waited = 0;
    if (length < kProfileShortestClocks || c.lane != 0) return;
    const u32 lap = c.step - c.params->profileFirst, steps = c.params->profileSteps;
    if (steps == 0 || lap >= steps + kStages || logged >= c.params->profileFullCount) return;
    const u64 at = static_cast<u64>(c.sm) * c.params->profileFullCount + logged++;
    u32* entry = reinterpret_cast<u32*>(c.params->profileFull) + at * 2;
    entry[0] = since;
    entry[1] = length;
  }
};
