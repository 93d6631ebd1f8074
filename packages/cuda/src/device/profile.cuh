// Times of each instruction, only in kernels emitted with `profile`: lines of the other files that
// are marked so call in here. A mark is a reading of the SM's own clock and a store to shared memory,
// by one thread, no barrier; steps that are not kept make theirs too, which costs less than to ask. A
// chunk that is there costs none: only who finds it missing reads the clock. Two pairs of clock and
// %globaltimer a step, read while the SM has nothing to do, tell the host when it was.

MPK_DEVICE u32 clock_word() { return static_cast<u32>(now_clocks()); }
template <class C> MPK_DEVICE u32* marks_of(const C& c, u32 instruction) {
  return c.shared->marks[instruction % kProfileSlots];
}
template <class C> MPK_DEVICE void mark(const C& c, u32 which) {
  marks_of(c, c.instruction)[which] = clock_word();
}
// By the last warp, which seldom has outputs, so that nobody waits for it while others have them; `at`
// may have been read long before, where every instruction is on the way to the next task.
template <class C> MPK_DEVICE void mark_behind(const C& c, u32 which, u32 at) {
  if (c.thread == kConsumerThreads - 32) marks_of(c, c.instruction)[which] = at;
}
// Thread 0's: what tile `tile` of the task depends on is there; that of its first tile counts.
template <class C> MPK_DEVICE void mark_ready(const C& c, u32 tile) {
  const u32 first = instruction_words(c, c.instruction)[kWordTileLo];
  if (c.thread == 0 && tile == first) mark(c, kMarkReady);
}

// kProfileWords words per step, SM and record; record 0 is the step's own. Null: it is not kept.
template <class C> MPK_DEVICE u32* profile_record(const C& c, u32 record) {
  const u32 step = c.step - c.params->profileFirst;
  if (step >= c.params->profileSteps) return nullptr;
  const u64 row = static_cast<u64>(step) * kProfileSms + c.sm;
  return reinterpret_cast<u32*>(c.params->profile) + (row * kProfileRecords + record) * kProfileWords;
}

// Warp `warp`: an instruction's marks to memory, and its slot is empty again. Between its last mark and
// this lies a barrier of that warp, and another between this and the slot's next mark.
template <class C> MPK_DEVICE void keep_marks(const C& c, u32 warp, u32 instruction) {
  if (c.warp != warp || c.lane >= kProfileWords) return;
  u32* from = marks_of(c, instruction) + c.lane;
  u32* record = profile_record(c, instruction + 1);
  if (record) record[c.lane] = *from;
  *from = 0;
}

// Of the step; in words `nanos` and behind it, unless 0, the clock of all SMs, an H200's in 32 ns.
template <class C> MPK_DEVICE void mark_step(const C& c, u32 which, u32 nanos) {
  u32* record = profile_record(c, 0);
  if (!record) return;
  const u64 now = nanos == 0 ? 0 : now_nanos();
  record[which] = clock_word();
  if (nanos == 0) return;
  record[nanos] = static_cast<u32>(now);
  record[nanos + 1] = static_cast<u32>(now >> 32);
}

// A consumer warp's wait for a chunk that is missing: the end of that for the task's first one is marked,
// those of the first warp for others are added up.
template <class C> struct ChunkWait {
  const C& c;
  const u32 chunk;
  const bool there;
  u32 since = 0;

  MPK_DEVICE ChunkWait(const C& context, u32 at)
      : c(context),
        chunk(at),
        there(mbarrier_look(&c.shared->full[at % kStages], (at / kStages) & 1u)) {
    if (!there) since = clock_word();
  }
  MPK_DEVICE ~ChunkWait() {
    if (there || c.lane != 0) return;
    if (chunk == c.chunk) {
      mark(c, kMarkData);
    } else if (c.warp == 0) {
      marks_of(c, c.instruction)[kMarkStalled] += clock_word() - since;
    }
  }
};

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
