// Times of each instruction, only in kernels emitted with `profile`: lines of the other files that
// are marked so call in here. A mark is a reading of the SM's own clock into a few words of shared
// memory, four instructions' in turn. A warp that seldom has outputs takes them to the profile two
// instructions later, before it looks for inputs that are not there yet: a barrier of all warps lies
// between, so all marks have been made. Steps that are not kept do the same but for the stores. Two
// pairs of clock and %globaltimer a step, read while the SM has nothing to do, tell the host when it
// was.

MPK_DEVICE u32 clock_word() { return static_cast<u32>(now_clocks()); }

// kProfileWords words per step, SM and record; record 0 is the step's own. The word where the records of
// instructions of this step begin; 0: it is not kept.
template <class C> MPK_DEVICE u32 marks_of_step(const C& c) {
  const u32 step = c.step - c.params->profileFirst;
  if (step >= c.params->profileSteps) return 0;
  return ((step * kProfileSms + c.sm) * kProfileRecords + 1) * kProfileWords;
}
template <class C> MPK_DEVICE void put_mark(const C& c, u32 which, u32 at) {
  c.shared->marks[c.instruction & 3u][which] = at;
}
// A thread's own, now.
template <class C> MPK_DEVICE void mark(const C& c, u32 which) { put_mark(c, which, clock_word()); }
// By a warp that seldom has outputs and, unlike the last one, fetches nothing.
template <class C> MPK_DEVICE void mark_aside(const C& c, u32 which) {
  if (c.thread == kConsumerThreads - 64) mark(c, which);
}
// The task's activations lie in shared memory; `arrived`: they have come only now, whatever was there before.
template <class C> MPK_DEVICE void mark_placed(const C& c, bool arrived) {
  if (c.thread != kConsumerThreads - 64) return;
  const u32 at = clock_word();
  put_mark(c, kMarkPlaced, at);
  if (arrived) put_mark(c, kMarkReady, at);
}
// What tile `tile` of the task depends on is there; that of its first tile counts.
template <class C> MPK_DEVICE void mark_ready(const C& c, u32 tile) {
  if (c.thread != kConsumerThreads - 64) return;
  if (tile == instruction_words(c, c.instruction)[kWordTileLo]) mark(c, kMarkReady);
}
// All marks of an instruction whose end all warps have left behind. The same warp's.
template <class C> MPK_DEVICE void keep_marks(const C& c, u32 instruction) {
  if (c.warp != kConsumerWarps - 2 || c.lane >= kProfileWords) return;
  u32& word = c.shared->marks[instruction & 3u][c.lane];
  const u32 base = marks_of_step(c);
  // Not read where nothing keeps it: a load that nothing waits for would be pending at arrivals.
  u32* to = reinterpret_cast<u32*>(c.params->profile) + base + instruction * kProfileWords + c.lane;
  if (base != 0) *to = word;
  word = 0;
}

// Of the step; in words `nanos` and behind it, unless 0, the clock of all SMs, an H200's in 32 ns.
template <class C> MPK_DEVICE void mark_step(const C& c, u32 which, u32 nanos) {
  const u32 base = marks_of_step(c);
  if (base == 0) return;
  u32* record = reinterpret_cast<u32*>(c.params->profile) + base - kProfileWords;
  const u64 now = nanos == 0 ? 0 : now_nanos();
  record[which] = clock_word();
  if (nanos == 0) return;
  record[nanos] = static_cast<u32>(now);
  record[nanos + 1] = static_cast<u32>(now >> 32);
}

// A consumer warp's wait for a chunk that is missing: the end of that for the task's first one, and,
// of the first warp, the sum of those for others.
template <class C> struct ChunkWait {
  const C& c;
  const u32 chunk, since;

  MPK_DEVICE ChunkWait(const C& context, u32 at) : c(context), chunk(at), since(clock_word()) {}
  MPK_DEVICE ~ChunkWait() {
    if (chunk != c.chunk) {
      if (c.thread == 0) c.shared->marks[c.instruction & 3u][kMarkStalled] += clock_word() - since;
    } else if (c.warp == chunk % kConsumerWarps && c.lane == 0) {
      mark(c, kMarkData);
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
