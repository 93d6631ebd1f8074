// mbarriers with phases and transaction counts, and the engine that copies later: copies end in
// any order, at any time until somebody must wait for them.
#include <cstring>

#include "memory.hpp"
#include "scheduler.hpp"

namespace emulator {

namespace {

// An mbarrier's 64 bits. Hardware keeps its own layout secret; this one marks initialized words.
struct Phase {
  u32 mark;     // 10 bits
  u32 parity;   // of the phase that is under way
  u32 arrivals; // per phase, 16 bits
  u32 pending;  // of this phase, 16 bits
  i32 bytes;    // expected less arrived, 21 bits with sign
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
  return {static_cast<u32>(w >> 54), static_cast<u32>(w >> 53 & 1), static_cast<u32>(w >> 37 & 0xffff),
          static_cast<u32>(w >> 21 & 0xffff),
          static_cast<i32>(w & 0x1fffff) - kMostBytes - 1};
}

void settle(u64* bar, Phase p) {
  if (p.pending == 0 && p.bytes == 0) {
    p.parity ^= 1;
    p.pending = p.arrivals;
    note_progress();
  }
  *bar = pack_phase(p);
}

void arrive(u64* bar, i32 expectedBytes) {
  Phase p = phase_at(bar);
  if (p.pending == 0) fault("an mbarrier takes %u arrivals a phase, this is one more", p.arrivals);
  p.bytes += expectedBytes;
  if (p.bytes > kMostBytes) fault("an mbarrier expects %d bytes, more than it can count", p.bytes);
  p.pending--;
  settle(bar, p);
}

void take_bytes(u64* bar, u32 bytes) {
  Phase p = phase_at(bar);
  p.bytes -= static_cast<i32>(bytes);
  if (p.bytes < -kMostBytes) fault("more bytes arrive on an mbarrier than it can count");
  settle(bar, p);
}

// A copy under way, or (dst null) an arrival that follows its thread's copies.
struct Copy {
  u8* dst;
  const u8* src;
  u32 bytes;
  u64* bar;    // of a bulk copy
  Fiber* owner;  // of a cp.async
};
std::vector<Copy> pending;

// An arrival waits for all copies of its thread that came before it.
bool may_finish(std::size_t i) {
  if (pending[i].dst != nullptr) return true;
  for (std::size_t j = 0; j < i; j++) {
    if (pending[j].owner == pending[i].owner && pending[j].dst != nullptr) return false;
  }
  return true;
}

void finish(std::size_t i) {
  const Copy c = pending[i];
  pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(i));
  if (c.dst != nullptr) std::memcpy(c.dst, c.src, c.bytes);
  if (c.bar == nullptr) return;
  if (c.dst == nullptr) {
    arrive(c.bar, 0);
  } else {
    take_bytes(c.bar, c.bytes);
  }
}

bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

}  // namespace

void mbarrier_init(u64* bar, u32 arrivals) { *bar = pack_phase({kMark, 0, arrivals, arrivals, 0}); }

void mbarrier_arrive(u64* bar) {
  arrive(bar, 0);
  maybe_switch();
}

void mbarrier_arrive_expect(u64* bar, u32 bytes) {
  arrive(bar, static_cast<i32>(bytes));
  maybe_switch();
}

bool mbarrier_test(u64* bar, u32 parity) {
  Fiber& f = *running();
  if (f.polled == bar) park();
  maybe_switch();
  f.polled = bar;
  return phase_at(bar).parity != parity;
}

void fence_async() {}

void bulk_copy(u8* dst, const u8* src, u32 bytes, u64* bar) {
  if (!is_aligned(dst) || !is_aligned(src) || bytes % 16 != 0) {
    fault("a bulk copy of %u bytes from %p to %p is not aligned to 16 bytes", bytes,
          static_cast<const void*>(src), static_cast<void*>(dst));
  }
  pending.push_back({dst, src, bytes, bar, nullptr});
  maybe_switch();
}

void copy_async(u8* dst, const u8* src) {
  if (!is_aligned(dst) || !is_aligned(src)) fault("cp.async is not aligned to 16 bytes");
  pending.push_back({dst, src, 16, nullptr, running()});
}

void mbarrier_arrive_after_copies(u64* bar) {
  pending.push_back({nullptr, nullptr, 0, bar, running()});
  maybe_switch();
}

bool copies_pending() { return !pending.empty(); }

void finish_copies(bool all) {
  if (all) {
    while (!pending.empty()) finish(0);
    return;
  }
  if (pending.empty()) return;
  std::size_t i = dice().below(static_cast<u32>(pending.size()));
  while (!may_finish(i)) i--;
  finish(i);
}

}  // namespace emulator
