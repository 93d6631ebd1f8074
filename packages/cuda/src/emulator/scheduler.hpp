// Which GPU thread runs next: a seeded choice, so that a seed replays a run exactly.
#ifndef MPK_SCHEDULER_HPP
#define MPK_SCHEDULER_HPP

#include <cstddef>
#include <vector>

#include "emulator.hpp"
#include "fiber.hpp"
#include "order.hpp"

namespace emulator {

// What the lanes of a warp do together.
enum class Meeting : u32 { none, barrier, shuffle, vote, multiply };

// One lane's part in a meeting.
struct Lane {
  u64 word;
  u32 mask;
  u32 a[4], b[2];
  float d[4];
};

struct Fiber;

struct Warp {
  Meeting meeting = Meeting::none;
  u32 present = 0;  // lanes that have come, a bit each
  u32 alive = 0;
  Lane lanes[32];
  Fiber* waiters = nullptr;
};

// A thread's own copy of 16 bytes, until it lands.
struct Piece {
  u8* dst;
  const u8* src;  // null: zeros
  u32 group;
};

struct Fiber {
  Flow flow;
  u8* stack;
  u32 thread, block;
  bool parked = false;
  // The last word that this thread polled: a second look in a row is a spin.
  const void* polled = nullptr;
  Standing standing;
  std::vector<Piece> pieces;
  u32 pieceGroups = 0;  // that have ended
  Fiber* next = nullptr;  // in a list of waiters
};

// A block's barrier: waiters, until enough have come.
struct Gate {
  u32 arrived = 0;
  u32 expected = 0;
  Fiber* waiters = nullptr;
};

struct Block {
  u8* shared = nullptr;
  u32 alive = 0;
  Gate gates[2];
  std::vector<Warp> warps;
};

// splitmix64 (Steele, Lea, Flood 2014).
struct Random {
  u64 state;
  u64 next() {
    u64 z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  u32 below(u32 n) { return static_cast<u32>((next() >> 32) * n >> 32); }
};

struct Launch {
  const void* params;
  u32 blocks, threads, sharedBytes;
  const u32* abort;
  // 0: every thread runs until it must wait, in a fixed order, which is fastest.
  u64 seed;
};

// Counts of one launch.
struct Tally {
  u64 switches = 0;
  u64 copies = 0;
};

// Runs a grid to its end. `hostTurn` is called now and then: the host's side of the launch.
Tally run_grid(const Launch& launch, void (*hostTurn)());

// The running thread's fiber; null outside a grid.
Fiber* running();
Block& block_of(const Fiber& fiber);
Fiber& fiber_at(u32 block, u32 thread);
// Whether an address is in an SM's shared memory, and where.
bool find_shared(const void* p, u32* block, u64* offset);
// Whether all of these bytes are in one global buffer (main.cpp).
bool is_in_buffer(const void* p, std::size_t bytes);
// A global buffer's name and the offset in it, for messages (main.cpp).
void describe_buffer(const void* p, char* text, std::size_t bytes);
Random& dice();
// With a seed: perhaps lets others run first.
void maybe_switch();
// Whether a seed chooses what comes next.
bool is_seeded();
// Waits until something has happened, or a while has passed.
void park();
// Waits in `list` until `wake_all`.
void wait_in(Fiber*& list);
void wake_all(Fiber*& list);
// A thread that waits may find what it waits for.
void note_progress();

// From the copy engine (copies.cpp): whether copies are under way; finishes one, or all.
bool copies_pending();
bool copies_pending_to(const u8* from, u64 bytes);
void finish_copies(bool all);
// From meetings.cpp: a thread is gone, and nobody waits for it any more.
void leave_meetings(Fiber& fiber);

}  // namespace emulator

#endif
