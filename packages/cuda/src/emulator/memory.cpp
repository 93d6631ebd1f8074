// Words that several threads use at once, and the stores on their way. See memory.hpp.
#include "memory.hpp"

#include <cstdlib>
#include <unordered_map>
#include <vector>

#include "order.hpp"
#include "scheduler.hpp"

namespace emulator {

namespace {

constexpr u32 kUnwritten = 0x7fc17fc1u;
constexpr std::size_t kAlignment = 1024;

// What who reads a word with acquire comes to know; of system scope, the host too.
struct Released {
  Knowledge gpu, system;
};
std::unordered_map<const u32*, Released> released;

enum class Kind : u32 { set, add, maximum };

// A store that has left its thread.
struct Pending {
  u32* p;
  u32 v;
  Kind kind;
  Order order;
  Scope scope;
  u32 block;
  Knowledge published;
};
// Of all SMs, oldest first.
std::vector<Pending> underWay;

const u32* abortWord = nullptr;

void apply(const Pending& s) {
  if (s.p == abortWord) stop_checking();
  switch (s.kind) {
    case Kind::set: *s.p = s.v; break;
    case Kind::add: *s.p += s.v; break;
    case Kind::maximum: *s.p = *s.p < s.v ? s.v : *s.p; break;
  }
  note_progress();
  if (!kChecking) return;
  Released& r = released[s.p];
  // A plain store begins anew; what adds to a word keeps what was released there before.
  if (s.kind == Kind::set) r = {};
  if (s.order != Order::release) return;
  r.gpu.join(s.published);
  if (s.scope == Scope::system) r.system.join(s.published);
}

void arrive(std::size_t i) {
  const Pending s = underWay[i];
  underWay.erase(underWay.begin() + static_cast<std::ptrdiff_t>(i));
  apply(s);
}

// The first store that must come before number i, or i: one to the same word, and before a release
// all that its SM has stored (a release covers what barriers told its thread).
std::size_t first_before(std::size_t i) {
  for (std::size_t j = 0; j < i; j++) {
    const bool sameWord = underWay[j].p == underWay[i].p && underWay[j].block == underWay[i].block;
    const bool covered = underWay[i].order == Order::release && underWay[j].block == underWay[i].block;
    if (sameWord || covered) return j;
  }
  return i;
}

void finish_one(std::size_t i) {
  for (std::size_t j = first_before(i); j != i; j = first_before(i)) i = j;
  arrive(i);
}

void store(u32* p, u32 v, Kind kind, Order order, Scope scope, const void* site) {
  Fiber& f = *running();
  maybe_switch();
  f.polled = nullptr;
  touch_here(p, 4, Access::write, Manner::strong, site);
  const Pending s = {p, v, kind, order, scope, f.block,
                     order == Order::release ? publish(f) : Knowledge{}};
  if (is_seeded()) {
    underWay.push_back(s);
    maybe_switch();
  } else {
    apply(s);
  }
}

}  // namespace

u8* allocate(std::size_t bytes) {
  void* p = nullptr;
  if (kChecking) {
    p = arena_allocate(bytes);
  } else if (posix_memalign(&p, kAlignment, bytes == 0 ? 1 : bytes) != 0) {
    fault("no memory for %zu bytes", bytes);
  }
  for (std::size_t i = 0; i + 4 <= bytes; i += 4) {
    *reinterpret_cast<u32*>(static_cast<u8*>(p) + i) = kUnwritten;
  }
  return static_cast<u8*>(p);
}

void release(u8* p) {
  if (!kChecking) std::free(p);
}

bool stores_pending() { return !underWay.empty(); }

void finish_stores(bool all) {
  while (all && !underWay.empty()) arrive(0);
  if (!underWay.empty()) finish_one(dice().below(static_cast<u32>(underWay.size())));
}

void finish_own_stores(const void* p, u32 bytes) {
  const u8* from = static_cast<const u8*>(p);
  for (std::size_t i = 0; i < underWay.size();) {
    const u8* at = reinterpret_cast<const u8*>(underWay[i].p);
    if (underWay[i].block != here.block || at + 4 <= from || at >= from + bytes) {
      i++;
      continue;
    }
    finish_one(i);
    i = 0;
  }
}

void begin_memory(const u32* abort) {
  abortWord = abort;
  released.clear();
  underWay.clear();
}

u32 load_strong(const u32* p, Order order, Scope) {
  Fiber& f = *running();
  if (f.polled == p) park();
  maybe_switch();
  f.polled = p;
  touch_here(p, 4, Access::read, Manner::strong, __builtin_return_address(0));
  if (!underWay.empty()) finish_own_stores(p, 4);
  if (kChecking && order == Order::acquire) learn(f, released[p].gpu);
  return *p;
}

void poll_pause() { park(); }

void store_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Kind::set, order, scope, __builtin_return_address(0));
}

void add_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Kind::add, order, scope, __builtin_return_address(0));
}

void maximum_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Kind::maximum, order, scope, __builtin_return_address(0));
}

// Gives a value back, so it cannot be on its way.
u32 compare_swap_strong(u32* p, u32 expected, u32 v, Order order, Scope scope) {
  Fiber& f = *running();
  maybe_switch();
  f.polled = nullptr;
  touch_here(p, 4, Access::write, Manner::strong, __builtin_return_address(0));
  finish_own_stores(p, 4);
  const u32 seen = *p;
  if (seen != expected) return seen;
  const Knowledge published = order == Order::release ? publish(f) : Knowledge{};
  // Not `set`: a read-modify-write keeps what was released there.
  apply({p, v - seen, Kind::add, order, scope, f.block, published});
  return seen;
}

u32 host_load(const u32* p) {
  if (kChecking) host_learns(released[p].system);
  return *p;
}

}  // namespace emulator
