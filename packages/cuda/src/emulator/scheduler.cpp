// The scheduler of GPU threads. See scheduler.hpp.
#include "scheduler.hpp"

#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "memory.hpp"
#include "protocol.hpp"

namespace emulator {

Here here = {0, 0, 0, nullptr};

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 256 << 10;
#else
constexpr std::size_t kStackBytes = 64 << 10;
#endif
// At the low end of every stack: overwritten, the stack was too small.
constexpr u64 kStackMark = 0x6d706b2d73746163ull;
// Emulated time. A switch costs about what an instruction does; with nothing to do, time flies.
constexpr u64 kNanosPerSwitch = 1, kNanosPerReading = 20, kNanosPerIdleRound = 10000000;
// The longer nothing happens, the faster time flies; then not even a watchdog can be expected to fire.
constexpr u64 kFastRounds = 2000, kNanosPerFastRound = 1000000000, kHopelessRounds = 50000;
constexpr u32 kHostTurnSwitches = 4096;

// A queue whose entries can be taken from anywhere.
struct Queue {
  std::vector<Fiber*> ring;
  u32 head = 0, count = 0;

  void reset(u32 capacity) {
    u32 size = 1;
    while (size < capacity) size *= 2;
    ring.assign(size, nullptr);
    head = count = 0;
  }
  u32 at(u32 i) const { return (head + i) & (static_cast<u32>(ring.size()) - 1); }
  void push(Fiber* f) { ring[at(count++)] = f; }
  Fiber* pop(u32 i) {
    Fiber* f = ring[at(i)];
    ring[at(i)] = ring[at(0)];
    head = at(1);
    count--;
    return f;
  }
};

// How a seed's machine behaves: chances are of 256.
struct Habits {
  u32 switches = 0;  // that others run first, at every operation that they can see
  u32 copies = 0;    // that a copy ends, at every switch; 0: only when nothing else can happen
  u32 stores = 0;    // that a store arrives
  u32 starved = 0;   // this SM's threads run rarely, if there is one of that number
};

Habits habits_of(Random& random, u32 blocks) {
  const u32 switches[] = {2, 8, 32, 128}, late[] = {0, 2, 16, 64};
  Habits h;
  h.switches = switches[random.below(4)];
  h.copies = late[random.below(4)];
  h.stores = late[random.below(4)];
  h.starved = random.below(2 * blocks);
  return h;
}

struct Grid {
  Launch launch;
  std::vector<Fiber> fibers;
  std::vector<Block> blocks;
  u8* stacks = nullptr;
  Queue ready, parked;
  u32 alive = 0;
  u64 nanos = 0;
  u64 progress = 0;
  Random random = {0};
  Habits habits;
  u64 idleProgress = 0, hopelessRounds = 0;
  Tally tally;
  Flow scheduler;
  Fiber* current = nullptr;
};
Grid grid;

void suspend() {
  Fiber& f = *grid.current;
  switch_flow(f.flow, grid.scheduler);
}

void thread_start() {
  arrived_in_flow();
  mpk_kernel.decode(grid.launch.params);
  Fiber& f = *grid.current;
  leave_meetings(f);
  grid.alive--;
  const Block& block = block_of(f);
  if (block.alive == 0 && copies_pending_to(block.shared, grid.launch.sharedBytes)) {
    fault("copies to the shared memory of an SM whose threads are gone");
  }
  grid.progress++;
  switch_flow(f.flow, grid.scheduler, true);
  std::abort();  // a finished thread is never resumed
}

void resume(Fiber& f) {
  grid.current = &f;
  here = {f.thread, f.block, grid.launch.threads, grid.blocks[f.block].shared};
  switch_flow(grid.scheduler, f.flow);
  grid.current = nullptr;
  grid.tally.switches++;
  grid.nanos += kNanosPerSwitch;
  u64 mark;
  std::memcpy(&mark, f.stack, 8);
  if (mark != kStackMark) fault("a thread needs more than %zu bytes of stack", kStackBytes);
}

void make_blocks(const Launch& launch) {
  const u32 warps = (launch.threads + 31) / 32;
  grid.blocks.clear();
  grid.blocks.resize(launch.blocks);
  for (Block& b : grid.blocks) {
    b.shared = allocate(launch.sharedBytes);
    b.alive = launch.threads;
    b.warps.resize(warps);
    for (u32 t = 0; t < launch.threads; t++) b.warps[t / 32].alive |= 1u << t % 32;
  }
}

void make_fibers(const Launch& launch) {
  const u32 count = launch.blocks * launch.threads;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* stacks = mmap(nullptr, count * kStackBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (stacks == MAP_FAILED) fault("no memory for the stacks of %u threads", count);
  grid.stacks = static_cast<u8*>(stacks);
  grid.fibers.clear();
  grid.fibers.resize(count);
  grid.ready.reset(count);
  grid.parked.reset(count);
  for (u32 i = 0; i < count; i++) {
    Fiber& f = grid.fibers[i];
    f.thread = i % launch.threads;
    f.block = i / launch.threads;
    f.stack = grid.stacks + i * kStackBytes;
    std::memcpy(f.stack, &kStackMark, 8);
    make_flow(f.flow, f.stack, kStackBytes, thread_start);
    grid.ready.push(&f);
  }
  grid.alive = count;
}

// Nobody is ready. Those who poll look again; where that led nowhere, a copy ends or a store
// arrives; where there is none, time passes.
void idle_round() {
  const bool stuck = grid.progress == grid.idleProgress || grid.parked.count == 0;
  grid.idleProgress = grid.progress;
  if (stuck) {
    const bool stores = stores_pending();
    if (copies_pending() && !(stores && grid.random.below(2) == 0)) {
      return finish_copies(!is_seeded());
    }
    if (stores) return finish_stores(false);
    if (grid.parked.count == 0) fault("all %u threads wait at barriers", grid.alive);
    const bool fast = ++grid.hopelessRounds > kFastRounds;
    grid.nanos += fast ? kNanosPerFastRound : kNanosPerIdleRound;
    if (grid.hopelessRounds > kHopelessRounds) {
      fault("no thread gets any further, nor does a watchdog end it: of %u threads %u poll, the "
            "others wait at barriers", grid.alive, grid.parked.count);
    }
  } else {
    grid.hopelessRounds = 0;
  }
  while (grid.parked.count > 0) grid.ready.push(grid.parked.pop(0));
}

// A ready thread at random; one of a starved SM rarely.
Fiber* pick_any() {
  u32 i = grid.random.below(grid.ready.count);
  for (u32 tries = 0; tries < 8; tries++) {
    if (grid.ready.ring[grid.ready.at(i)]->block != grid.habits.starved) break;
    i = grid.random.below(grid.ready.count);
  }
  return grid.ready.pop(i);
}

Fiber* pick() {
  if (is_seeded()) {
    Random& random = grid.random;
    if (copies_pending() && random.below(256) < grid.habits.copies) finish_copies(false);
    if (stores_pending() && random.below(256) < grid.habits.stores) finish_stores(false);
    if (grid.ready.count > 0 && grid.parked.count > 0 && random.below(64) == 0) {
      grid.ready.push(grid.parked.pop(grid.random.below(grid.parked.count)));
    }
  }
  if (grid.ready.count == 0) return nullptr;
  return is_seeded() ? pick_any() : grid.ready.pop(0);
}

}  // namespace

Fiber* running() { return grid.current; }
Block& block_of(const Fiber& fiber) { return grid.blocks[fiber.block]; }
Random& dice() { return grid.random; }
Fiber& fiber_at(u32 block, u32 thread) {
  return grid.fibers[block * grid.launch.threads + thread];
}
void note_progress() { grid.progress++; }
bool is_seeded() { return grid.launch.seed != 0; }

bool find_shared(const void* p, u32* block, u64* offset) {
  for (u32 i = 0; i < grid.blocks.size(); i++) {
    const u64 at = static_cast<u64>(static_cast<const u8*>(p) - grid.blocks[i].shared);
    if (at >= grid.launch.sharedBytes) continue;
    *block = i;
    *offset = at;
    return true;
  }
  return false;
}

void maybe_switch() {
  if (!is_seeded() || grid.random.below(256) >= grid.habits.switches) return;
  grid.ready.push(grid.current);
  suspend();
}

void park() {
  grid.parked.push(grid.current);
  suspend();
}

void wait_in(Fiber*& list) {
  grid.current->next = list;
  list = grid.current;
  suspend();
}

void wake_all(Fiber*& list) {
  // Waiters are listed last first; they go on in the order in which they came.
  Fiber* reversed = nullptr;
  while (list != nullptr) {
    Fiber* f = list;
    list = f->next;
    f->next = reversed;
    reversed = f;
  }
  for (; reversed != nullptr; reversed = reversed->next) grid.ready.push(reversed);
  grid.progress++;
}

u64 mark_nanos() { return grid.nanos += kNanosPerReading; }

u64 now_nanos() {
  grid.nanos += kNanosPerReading;
  if (grid.current != nullptr) {
    if (grid.current->polled == &grid.nanos) park();
    grid.current->polled = &grid.nanos;
  }
  return grid.nanos;
}

Tally run_grid(const Launch& launch, void (*hostTurn)()) {
  grid.launch = launch;
  grid.tally = {};
  grid.random = {launch.seed};
  grid.habits = habits_of(grid.random, launch.blocks);
  adopt_flow(grid.scheduler);
  // Knowledge has the shape of its launch: none may outlive it.
  grid.fibers.clear();
  begin_memory(launch.abort);
  begin_order(launch.blocks, launch.threads);
  make_blocks(launch);
  make_fibers(launch);
  for (u64 turn = 0; grid.alive > 0; turn++) {
    if (turn % kHostTurnSwitches == 0) hostTurn();
    Fiber* f = pick();
    if (f == nullptr) {
      idle_round();
    } else {
      resume(*f);
    }
  }
  finish_copies(true);
  finish_stores(true);
  for (Block& b : grid.blocks) release(b.shared, launch.sharedBytes);
  munmap(grid.stacks, grid.fibers.size() * kStackBytes);
  return grid.tally;
}

void fault(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int length = std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  const Fiber* f = grid.current;
  // Races name their threads themselves.
  const bool told = std::strstr(text, " @0x") != nullptr;
  if (f != nullptr && !told && length >= 0 && static_cast<std::size_t>(length) < sizeof text) {
    std::snprintf(text + length, sizeof text - length, " (SM %u, thread %u)", f->block, f->thread);
  }
  send_fault(text);
  std::exit(3);
}

}  // namespace emulator
