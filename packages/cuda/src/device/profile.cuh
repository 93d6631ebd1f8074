// Times of each instruction, only in kernels emitted with `profile`: lines of the other files that
// are marked so call in here. One store a mark, by one thread, no barrier. The clock is %globaltimer:
// one for all SMs, so that a signal and the wait it ends can be compared. An H200's ticks 32 ns.

// A record of kProfileWords words per SM, step and instruction; record 0 is the step's own. A word is
// a time (see ProfileMark), or the nanoseconds that thread 0 waited for chunks after the first.
template <class C> MPK_DEVICE u64* profile_record(const C& c, u32 record) {
  const u32 step = c.step - c.params->profileFirst;
  if (step >= c.params->profileSteps) return nullptr;
  const u64 row = static_cast<u64>(step) * kProfileSms + c.sm;
  return reinterpret_cast<u64*>(c.params->profile) + (row * kProfileRecords + record) * kProfileWords;
}
template <class C> MPK_DEVICE void mark(const C& c, u32 which) {
  u64* record = profile_record(c, c.instruction + 1);
  if (record) record[which] = now_nanos();
}
template <class C> MPK_DEVICE void mark_step(const C& c, u32 which) {
  u64* record = profile_record(c, 0);
  if (record) record[which] = now_nanos();
}
// Thread 0's: what tile `tile` of the task depends on is there; that of its first tile counts.
template <class C> MPK_DEVICE void mark_ready(const C& c, u32 tile) {
  const u32 first = c.shared->instruction[c.instruction & 1u][kWordTileLo];
  if (c.thread == 0 && tile == first) mark(c, kMarkReady);
}
// Thread 0: the task's signals are out.
template <class C> MPK_DEVICE void mark_end(const C& c) {
  u64* record = profile_record(c, c.instruction + 1);
  if (!record) return;
  record[kMarkEnd] = now_nanos();
  record[kMarkStalled] = c.shared->stalledNanos;
  c.shared->stalledNanos = 0;
}

// A consumer's wait for a chunk: that of the task's first one is marked, later ones of thread 0 are
// added up.
template <class C> struct TimedWait {
  const C& c;
  const bool first;
  u64 since;

  MPK_DEVICE TimedWait(const C& context, u32 chunk)
      : c(context), first(chunk == context.chunk), since(0) {
    const bool counts = c.lane == 0 && c.warp < kConsumerWarps && (first || c.warp == 0);
    if (counts && c.step - c.params->profileFirst < c.params->profileSteps) since = now_nanos();
  }
  MPK_DEVICE ~TimedWait() {
    if (since == 0) return;
    const u64 now = now_nanos();
    if (!first) {
      c.shared->stalledNanos += static_cast<u32>(now - since);
      return;
    }
    u64* record = profile_record(c, c.instruction + 1);
    record[kMarkAsked] = since;
    record[kMarkData] = now;
  }
};

// The producer's wait for a stage to come free, logged as (begin, end) if it is one. The producer is
// ahead of the steps that consumers profile: by as many laps as the ring holds, of a chunk at least.
template <class C, class P> struct FullRing {
  const C& c;
  P& producer;
  u64 since;

  MPK_DEVICE FullRing(const C& context, P& owner) : c(context), producer(owner), since(0) {
    const u32 lap = producer.lap - c.params->profileFirst;
    const bool counts = c.lane == 0 && producer.fullWaits < c.params->profileFullCount;
    const u32 steps = c.params->profileSteps;
    if (counts && steps != 0 && lap < steps + kStages) since = now_nanos();
  }
  MPK_DEVICE ~FullRing() {
    if (since == 0) return;
    const u64 now = now_nanos();
    if (now - since < kProfileShortestNanos) return;
    const u64 at = static_cast<u64>(c.sm) * c.params->profileFullCount + producer.fullWaits++;
    u64* entry = reinterpret_cast<u64*>(c.params->profileFull) + at * 2;
    entry[0] = since;
    entry[1] = now;
  }
};
