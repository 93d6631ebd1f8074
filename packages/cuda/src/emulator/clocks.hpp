// Vector clocks: what each GPU thread knows of the others. Immutable and shared; a clock is a row of
// chunks, one a block, so that clocks that differ in one block share the rest.
#ifndef MPK_CLOCKS_HPP
#define MPK_CLOCKS_HPP

#include "emulator.hpp"

namespace emulator {

// Who does something: a thread, or what acts beside threads (a stage's copies, the host).
struct Actor {
  u32 block;
  u32 index;  // in its block
};

struct Chunk {
  u32 users;
  u32 times[1];  // of each actor of the block
};

struct Clock {
  u32 users;
  Chunk* chunks[1];  // one a block; null: nothing is known
};

// A counted reference to a clock; null knows nothing.
class ClockRef {
 public:
  ClockRef() = default;
  ClockRef(const ClockRef& other);
  ClockRef(ClockRef&& other) noexcept : clock(other.clock) { other.clock = nullptr; }
  ClockRef& operator=(ClockRef other) noexcept {
    Clock* mine = clock;
    clock = other.clock;
    other.clock = mine;
    return *this;
  }
  ~ClockRef();

  u32 time_of(Actor a) const {
    if (clock == nullptr) return 0;
    const Chunk* chunk = clock->chunks[a.block];
    return chunk == nullptr ? 0 : chunk->times[a.index];
  }
  // Knows all that either knows.
  void join(const ClockRef& other);
  // Knows this too.
  void add(Actor a, u32 time) { add_all(&a, &time, 1); }
  // The same for several actors of one block.
  void add_all(const Actor* actors, const u32* times, u32 count);
  bool same(const ClockRef& other) const { return clock == other.clock; }

 private:
  Clock* clock = nullptr;
};

// Sizes of all clocks made from now on: blocks (the host is one more), and actors in each.
void set_clock_shape(u32 blocks, u32 actors);

}  // namespace emulator

#endif
