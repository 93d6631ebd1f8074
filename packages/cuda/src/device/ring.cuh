// The ring that weights come through, from both of its sides.

MPK_DEVICE u8* stage_of(const Context& c, u32 chunk) {
  return c.ring + (chunk % kStages) * kStageBytes;
}
// A consumer warp: until a chunk's bytes are there.
MPK_DEVICE void wait_full(Context& c, u32 chunk) {
  u64* bar = &c.shared->full[chunk % kStages];
  const u32 parity = (chunk / kStages) & 1u;
  //profile: if (mbarrier_look(shared_address(bar), parity)) return;
  //profile: const ChunkWait<Context> timed(c, chunk);
  for (u32 spins = 0; !mbarrier_test(bar, parity); spins++) {
    if (spins % kPatience == 0 && gives_up(c, kReportStream, chunk, parity, parity ^ 1u)) return;
  }
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

// A stage of the ring, carried on from chunk to chunk.
struct RingPlace {
  u32 stage;
  SharedAt bar;  // its `full`, which `empty` lies kStages behind
  u32 parity;    // of the phase that the chunk's copy completes

  MPK_DEVICE void next() {
    stage++;
    bar += 8;
    if (stage < kStages) return;
    stage = 0;
    bar -= kStages * 8;
    parity ^= 1u;
  }
  //few: MPK_DEVICE void previous() {
  //few:   if (stage == 0) {
  //few:     stage = kStages;
  //few:     bar += kStages * 8;
  //few:     parity ^= 1u;
  //few:   }
  //few:   stage--;
  //few:   bar -= 8;
  //few: }
};

// The producer (one thread with bulk copies, else a warp) copies this SM's stream into the ring, step
// after step, as far ahead as the ring holds, with at most kMaxInFlight chunks outstanding. It never
// looks at an activation. Its way from chunk to chunk is short: an H200 SM reads one in 400 cycles or so.
struct Producer {
  RingPlace at;  // of the next chunk
  SharedAt to;   // the same: where its stage begins
  RingPlace before;  // of the chunk `inFlight` before it
  u32 inFlight;      // at most
  bool streams;      // something has been copied
  bool leaving;
  //past: u32 known;  // steps whose descriptor was read, the latest counted from 1
  //past: u32 appends;  // phases of `appended` so far
  //profile: FullLog full;

  // What is waited for in the ring's first lap is the phase before the first, which is complete.
  MPK_DEVICE void begin(const Context& c) {
    const SharedAt first = shared_address(c.shared->full);
    to = shared_address(c.ring);
    at = RingPlace{0, first, 0};
    before = RingPlace{kStages - kMaxInFlight, first + (kStages - kMaxInFlight) * 8, 1};
    inFlight = kMaxInFlight;
  }
  //few: // One chunk less is in flight in steps of several tokens, where SMs read much of each other besides.
  //few: MPK_DEVICE void adapt(const Context& c) {
  //few:   const bool several = *static_cast<volatile u32*>(&c.shared->several);
  //few:   const u32 most = producer_all(several) && kMaxInFlight > 1 ? kMaxInFlight - 1 : kMaxInFlight;
  //few:   if (leaving || most == inFlight) return;
  //few:   if (most == kMaxInFlight) {
  //few:     before.previous();
  //few:   } else {
  //few:     leaving = !producer_all(await_copy(c));
  //few:     if (leaving) return;
  //few:     before.next();
  //few:   }
  //few:   inFlight = most;
  //few: }
  MPK_DEVICE void next() {
    to += kStageBytes;
    at.next();
    if (at.stage == 0) to -= kStages * kStageBytes;
    before.next();
    streams = true;
  }

  // Until a phase is complete; false: the producer leaves.
  MPK_DEVICE bool await(const Context& c, SharedAt bar, u32 parity) {
    Watch watch = {};
    for (u32 spins = 1; !mbarrier_test(bar, parity); spins++) {
      if (*static_cast<volatile u32*>(&c.shared->leave)) return false;
      if (spins % (4 * kPatience) == 0 && watch.is_over(c)) return false;
    }
    return true;
  }
  // The same of a copy. Between two looks lies nothing else.
  MPK_DEVICE bool await_copy(const Context& c) {
    Watch watch = {};
    for (u32 spins = 1; !mbarrier_test(before.bar, before.parity); spins++) {
      if (spins % (4 * kPatience) == 0 && watch.is_over(c)) return false;
    }
    return true;
  }
  MPK_DEVICE bool await_empty(const Context& c) {
    const SharedAt bar = at.bar + kStages * 8;
    const u32 parity = at.parity ^ 1u;  // of the lap before
    //profile: if (mbarrier_look(bar, parity)) return true;
    //profile: full.begin();
    const bool empty = await(c, bar, parity);
    //profile: full.end();
    return empty;
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
  //hold:   Watch watch = {};
  //hold:   for (u32 spins = 1; gives_way(c) && !*static_cast<volatile u32*>(&c.shared->leave); spins++) {
  //hold:     poll_pause();
  //hold:     if (spins % (4 * kPatience) == 0 && watch.is_over(c)) break;
  //hold:   }
  //hold:   //profile: full.end();
  //hold: }
  // Until the next stage may be filled; false: the producer leaves.
  MPK_DEVICE bool claim(Context& c) {
    if (leaving) return false;
    //hold: give_way(c);
    producer_barrier();  // a lane left behind by a lap would take an old phase for the new
    // The last chunk in flight is waited for last.
    leaving = !producer_all(await_empty(c) && await_copy(c));
    return !leaving;
  }

  MPK_DEVICE void copy(Context& c, const u8* src, u32 bytes) {
    if (!claim(c)) return;
    copy_to_stage(to, src, bytes, at.bar, c.lane);
    //profile: full.keep(c);
    next();
  }
  //past: // A chunk of the cache, or, without bytes, an empty one.
  //past: MPK_DEVICE void copy_past(Context& c, const u8* src, u32 bytes) {
  //past:   if (!claim(c)) return;
  //past:   copy_past_to_stage(to, src, bytes, at.bar, c.lane);
  //past:   //profile: full.keep(c);
  //past:   next();
  //past: }
  //past: MPK_DEVICE bool await_phase(Context& c, u64* bar, u32 phase) {
  //past:   producer_barrier();
  //past:   leaving = !producer_all(await(c, shared_address(bar), phase & 1u));
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
  MPK_DEVICE void drain() {
    for (u32 i = 0; i < inFlight; i++, before.next()) {
      while (!mbarrier_test(before.bar, before.parity)) {
      }
    }
  }
};
