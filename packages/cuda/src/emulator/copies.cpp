// mbarriers with phases and transaction counts, and the engine that copies later: copies end in
// any order, at any time until somebody must wait for them.
#include <cstring>
#include <vector>

#include "order.hpp"
#include "scheduler.hpp"

namespace emulator {

namespace {

#define MPK_SITE __builtin_return_address(0)

// An mbarrier's 64 bits. Hardware keeps its own layout secret; this one marks initialized words.
struct Phase {
  u32 mark;      // 10 bits
  u32 parity;    // of the phase that is under way
  u32 arrivals;  // per phase, 16 bits
  u32 pending;   // of this phase, 16 bits
  i32 bytes;     // expected less arrived, 21 bits with sign
};
constexpr u32 kMark = 0x2b5;
constexpr i32 kMostBytes = (1 << 20) - 1;

u64 pack_phase(const Phase& p) {
  return static_cast<u64>(p.mark) << 54 | static_cast<u64>(p.parity) << 53 |
         static_cast<u64>(p.arrivals) << 37 | static_cast<u64>(p.pending) << 21 |
         static_cast<u64>(p.bytes + kMostBytes + 1);
}

Phase phase_at(const u64* bar) {
  const u64 w = *bar;
  if (w >> 54 != kMark) fault("an mbarrier that is not initialized, or was overwritten");
  return {kMark, static_cast<u32>(w >> 53 & 1), static_cast<u32>(w >> 37 & 0xffff),
          static_cast<u32>(w >> 21 & 0xffff), static_cast<i32>(w & 0x1fffff) - kMostBytes - 1};
}

// A block's mbarrier is found by its address alone.
PhaseOrder& order_at(const u64* bar) {
  u32 block = 0;
  u64 offset = 0;
  if (!find_shared(bar, &block, &offset)) fault("an mbarrier outside shared memory");
  return phase_order(bar, block);
}

// Arrivals and bytes are counted; at the end of a phase, what was done before is known to those who
// see its end.
void change_phase(u64* bar, u32 arrivals, i32 bytes, const Knowledge& k) {
  Phase p = phase_at(bar);
  if (p.pending < arrivals) {
    fault("an mbarrier takes %u arrivals a phase, this is one more", p.arrivals);
  }
  p.pending -= arrivals;
  p.bytes += bytes;
  if (p.bytes > kMostBytes || p.bytes < -kMostBytes) {
    fault("an mbarrier expects %d bytes, more than it can count", p.bytes);
  }
  if (kChecking) order_at(bar).gathering.join(k);
  if (p.pending == 0 && p.bytes == 0) {
    p.parity ^= 1;
    p.pending = p.arrivals;
    note_progress();
    if (kChecking) order_at(bar).done = order_at(bar).gathering;
  }
  *bar = pack_phase(p);
}

// A copy under way, or (dst null) an arrival that follows its thread's copies.
struct Copy {
  u8* dst;
  const u8* src;
  u32 bytes;
  u64* bar;       // of a bulk copy, or an arrival
  Fiber* owner;   // of a cp.async, or an arrival
  Knowledge after;  // what who sees its end comes to know
};
std::vector<Copy> inFlight;

// An arrival waits for all copies of its thread that came before it.
bool may_finish(std::size_t i) {
  if (inFlight[i].dst != nullptr) return true;
  for (std::size_t j = 0; j < i; j++) {
    if (inFlight[j].owner == inFlight[i].owner && inFlight[j].dst != nullptr) return false;
  }
  return true;
}

void finish(std::size_t i) {
  const Copy c = inFlight[i];
  inFlight.erase(inFlight.begin() + static_cast<std::ptrdiff_t>(i));
  if (c.dst != nullptr) std::memcpy(c.dst, c.src, c.bytes);
  if (c.bar == nullptr) return;
  if (c.dst == nullptr) {
    change_phase(c.bar, 1, 0, c.after);
  } else {
    change_phase(c.bar, 0, -static_cast<i32>(c.bytes), c.after);
  }
}

bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

// What a copy reads: later, where nobody could say any more who asked for it.
void check_source(const u8* src, u32 bytes, const void* site) {
  if (is_in_buffer(src, bytes)) return;
  char start[96];
  describe_buffer(src, start, sizeof start);
  fault("a copy of %u bytes that are not all in a buffer, from %s: by SM %u, thread %u @%p", bytes,
        start, here.block, here.thread, site);
}

// A copy's accesses, from the moment it is asked for: from then on it may happen.
Knowledge touch_copy(u8* dst, const u8* src, u32 bytes, const u64* bar, Actor actor, u32 time,
                     const void* site) {
  Fiber& f = *running();
  const bool async = bar != nullptr;
  ClockRef known = f.standing.known.seen;
  known.add(actor_of(f), f.standing.time);
  const ClockRef* fenced = async ? &f.standing.known.fenced : nullptr;
  Knowledge after;
  after.seen.add(actor, time);
  // The async proxy's own writes need no fence for later copies.
  after.fenced.add(actor, time);
  if (!is_watching()) return after;
  Touch t = {Access::read, Manner::copy, actor, time, &known, fenced, site};
  if (async) touch(bar, 8, t);
  touch(src, bytes, t);
  t.access = Access::write;
  touch(dst, bytes, t);
  return after;
}

}  // namespace

void mbarrier_init(u64* bar, u32 arrivals) {
  touch_here(bar, 8, Access::write, Manner::plain, MPK_SITE);
  *bar = pack_phase({kMark, 0, arrivals, arrivals, 0});
}

void mbarrier_arrive(u64* bar) {
  touch_here(bar, 8, Access::read, Manner::strong, MPK_SITE);
  running()->polled = nullptr;
  change_phase(bar, 1, 0, publish(*running()));
  maybe_switch();
}

void mbarrier_arrive_expect(u64* bar, u32 bytes) {
  touch_here(bar, 8, Access::read, Manner::strong, MPK_SITE);
  running()->polled = nullptr;
  change_phase(bar, 1, static_cast<i32>(bytes), publish(*running()));
  maybe_switch();
}

void mbarrier_expect_arrival(u64* bar) {
  touch_here(bar, 8, Access::read, Manner::strong, MPK_SITE);
  Phase p = phase_at(bar);
  p.pending++;
  *bar = pack_phase(p);
}

bool mbarrier_test(u64* bar, u32 parity) {
  Fiber& f = *running();
  touch_here(bar, 8, Access::read, Manner::strong, MPK_SITE);
  if (f.polled == bar) park();
  maybe_switch();
  f.polled = bar;
  if (phase_at(bar).parity == parity) return false;
  if (kChecking) learn(f, order_at(bar).done);
  return true;
}

void fence_async() { fence_proxy(*running()); }

void bulk_copy(u8* dst, const u8* src, u32 bytes, u64* bar) {
  if (!is_aligned(dst) || !is_aligned(src) || bytes % 16 != 0) {
    fault("a bulk copy of %u bytes from %p to %p is not aligned to 16 bytes", bytes,
          static_cast<const void*>(src), static_cast<void*>(dst));
  }
  check_source(src, bytes, MPK_SITE);
  Knowledge after;
  if (kChecking) {
    PhaseOrder& o = order_at(bar);
    const Actor actor = {here.block, o.actor};
    after = touch_copy(dst, src, bytes, bar, actor, ++o.copies, MPK_SITE);
  }
  inFlight.push_back({dst, src, bytes, bar, nullptr, after});
  maybe_switch();
}

void copy_async(u8* dst, const u8* src) {
  if (!is_aligned(dst) || !is_aligned(src)) fault("cp.async is not aligned to 16 bytes");
  check_source(src, 16, MPK_SITE);
  if (kChecking) {
    Standing& s = running()->standing;
    if (s.twin == 0) s.twin = new_actor(here.block);
    touch_copy(dst, src, 16, nullptr, {here.block, s.twin}, ++s.copies, MPK_SITE);
  }
  inFlight.push_back({dst, src, 16, nullptr, running(), {}});
}

void mbarrier_arrive_after_copies(u64* bar) {
  touch_here(bar, 8, Access::read, Manner::strong, MPK_SITE);
  Knowledge after;
  const Standing& s = running()->standing;
  if (kChecking && s.twin != 0) after.seen.add({here.block, s.twin}, s.copies);
  inFlight.push_back({nullptr, nullptr, 0, bar, running(), after});
  maybe_switch();
}

namespace {
void land(const Piece& p) {
  if (p.src == nullptr) {
    std::memset(p.dst, 0, 16);
  } else {
    std::memcpy(p.dst, p.src, 16);
  }
}
}  // namespace

// Some land at once, the others when they must. For the checker the thread itself writes, now.
void copy_piece(u8* dst, const u8* src) {
  if (!is_aligned(dst) || !is_aligned(src)) fault("cp.async is not aligned to 16 bytes");
  if (src != nullptr) check_source(src, 16, MPK_SITE);
  touch_here(dst, 16, Access::write, Manner::plain, MPK_SITE);
  if (src != nullptr) touch_here(src, 16, Access::read, Manner::plain, MPK_SITE);
  Fiber& f = *running();
  const Piece piece = {dst, src, f.pieceGroups};
  if (is_seeded() && dice().below(4) == 0) return land(piece);
  f.pieces.push_back(piece);
}

void end_pieces() { running()->pieceGroups++; }

void await_pieces(u32 left) {
  Fiber& f = *running();
  std::vector<Piece> later;
  // Groups may land in any order: the last first is as good as any.
  for (std::size_t i = f.pieces.size(); i-- > 0;) {
    const Piece& p = f.pieces[i];
    if (p.group + left < f.pieceGroups) {
      land(p);
    } else {
      later.push_back(p);
    }
  }
  f.pieces.assign(later.rbegin(), later.rend());
  maybe_switch();
}

bool copies_pending() { return !inFlight.empty(); }

bool copies_pending_to(const u8* from, u64 bytes) {
  for (const Copy& c : inFlight) {
    const u8* at = c.dst == nullptr ? reinterpret_cast<const u8*>(c.bar) : c.dst;
    if (static_cast<u64>(at - from) < bytes) return true;
  }
  return false;
}

void finish_copies(bool all) {
  while (all && !inFlight.empty()) finish(0);
  if (inFlight.empty()) return;
  std::size_t i = dice().below(static_cast<u32>(inFlight.size()));
  while (!may_finish(i)) i--;
  finish(i);
}

}  // namespace emulator
