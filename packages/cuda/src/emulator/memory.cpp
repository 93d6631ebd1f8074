// Words that several threads use at once. See emulator.hpp.
#include "memory.hpp"

#include <cstdlib>

#include "scheduler.hpp"

namespace emulator {

namespace {

constexpr u32 kUnwritten = 0x7fc17fc1u;
constexpr std::size_t kAlignment = 1024;

void before_write() {
  maybe_switch();
  if (running() != nullptr) running()->polled = nullptr;
}

}  // namespace

u8* allocate(std::size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, kAlignment, bytes == 0 ? 1 : bytes) != 0) {
    fault("no memory for %zu bytes", bytes);
  }
  for (std::size_t i = 0; i + 4 <= bytes; i += 4) {
    *reinterpret_cast<u32*>(static_cast<u8*>(p) + i) = kUnwritten;
  }
  return static_cast<u8*>(p);
}

u32 load_strong(const u32* p, Order, Scope) {
  Fiber& f = *running();
  if (f.polled == p) park();
  maybe_switch();
  f.polled = p;
  return *p;
}

void store_strong(u32* p, u32 v, Order, Scope) {
  before_write();
  *p = v;
  note_progress();
}

void add_strong(u32* p, u32 v, Order, Scope) {
  before_write();
  *p += v;
  note_progress();
}

void maximum_strong(u32* p, u32 v, Order, Scope) {
  before_write();
  if (*p < v) *p = v;
  note_progress();
}

u32 compare_swap_strong(u32* p, u32 expected, u32 v, Order, Scope) {
  before_write();
  const u32 seen = *p;
  if (seen == expected) *p = v;
  note_progress();
  return seen;
}

}  // namespace emulator
