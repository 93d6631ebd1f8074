// Words that several threads use at once, and the stores on their way. See memory.hpp.
#include "memory.hpp"

#include <cstdlib>
#include <vector>

#include "order.hpp"
#include "scheduler.hpp"
#include "words.hpp"

namespace emulator {

namespace {

constexpr u32 kUnwritten = 0x7fc17fc1u;
constexpr std::size_t kAlignment = 1024;

// A store that has left its thread.
struct Pending {
  Store store;
  u32 block;
};
// Of all SMs, oldest first.
std::vector<Pending> underWay;

void arrive(std::size_t i) {
  const Store s = underWay[i].store;
  underWay.erase(underWay.begin() + static_cast<std::ptrdiff_t>(i));
  apply(s);
}

// The first store that must come before number i, or i: one to the same word, and before a release
// all that its SM has stored (a release covers what barriers told its thread).
std::size_t first_before(std::size_t i) {
  for (std::size_t j = 0; j < i; j++) {
    if (underWay[j].block != underWay[i].block) continue;
    const Store &first = underWay[j].store, &then = underWay[i].store;
    if (first.p == then.p || then.order == Order::release) return j;
  }
  return i;
}

void finish_one(std::size_t i) {
  for (std::size_t j = first_before(i); j != i; j = first_before(i)) i = j;
  arrive(i);
}

// The store at this moment; a release moves the thread's time on.
Store store_of(Fiber& f, u32* p, u32 v, Change change, Order order, Scope scope) {
  Store s = {p, v, change, order, scope, actor_of(f), f.standing.time, {}};
  if (order == Order::release) s.published = publish(f);
  return s;
}

void store(u32* p, u32 v, Change change, Order order, Scope scope, const void* site) {
  Fiber& f = *running();
  maybe_switch();
  f.polled = nullptr;
  touch_here(p, 4, Access::write, Manner::strong, site);
  const Store s = store_of(f, p, v, change, order, scope);
  if (is_seeded()) {
    underWay.push_back({s, f.block});
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

void release(u8* p, std::size_t bytes) {
  if (kChecking) return arena_release(p, bytes);
  std::free(p);
}

bool stores_pending() { return !underWay.empty(); }

void finish_stores(bool all) {
  while (all && !underWay.empty()) arrive(0);
  if (!underWay.empty()) finish_one(dice().below(static_cast<u32>(underWay.size())));
}

void finish_own_stores(const void* p, u32 bytes) {
  const u8* from = static_cast<const u8*>(p);
  for (std::size_t i = 0; i < underWay.size();) {
    const u8* at = reinterpret_cast<const u8*>(underWay[i].store.p);
    if (underWay[i].block != here.block || at + 4 <= from || at >= from + bytes) {
      i++;
      continue;
    }
    finish_one(i);
    i = 0;
  }
}

void begin_memory(const u32* abort) {
  begin_words(abort);
  underWay.clear();
}

u32 load_strong(const u32* p, Order order, Scope) {
  Fiber& f = *running();
  if (f.polled == p) park();
  maybe_switch();
  f.polled = p;
  touch_here(p, 4, Access::read, Manner::strong, __builtin_return_address(0));
  if (!underWay.empty()) finish_own_stores(p, 4);
  return read_word(f, p, order);
}

void poll_pause() { park(); }

void store_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Change::set, order, scope, __builtin_return_address(0));
}

void add_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Change::add, order, scope, __builtin_return_address(0));
}

void maximum_strong(u32* p, u32 v, Order order, Scope scope) {
  store(p, v, Change::maximum, order, scope, __builtin_return_address(0));
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
  // Not `set`: a read-modify-write keeps what was released there.
  apply(store_of(f, p, v - seen, Change::add, order, scope));
  return seen;
}

u32 host_load(const u32* p) {
  host_learns_from(p);
  return *p;
}

}  // namespace emulator
