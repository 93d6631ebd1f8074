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
// Rounds without any progress after which not even a watchdog can be expected to fire.
constexpr u64 kHopelessRounds = 4000000;
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
  u32 switchChance = 0;  // of 256, at every operation that others can see
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

// Nobody is ready: copies end, and those who poll look again.
void idle_round() {
  static u64 lastProgress = 0, hopeless = 0;
  if (copies_pending()) {
    finish_copies(grid.launch.seed == 0);
    return;
  }
  if (grid.parked.count == 0) fault("all %u threads wait at barriers", grid.alive);
  if (grid.progress == lastProgress) {
    grid.nanos += kNanosPerIdleRound;
    if (++hopeless > kHopelessRounds) fault("no thread gets any further, nor a watchdog fires");
  } else {
    hopeless = 0;
  }
  lastProgress = grid.progress;
  while (grid.parked.count > 0) grid.ready.push(grid.parked.pop(0));
}

Fiber* pick() {
  const bool seeded = grid.launch.seed != 0;
  if (seeded) {
    if (copies_pending() && grid.random.below(32) == 0) finish_copies(false);
    if (grid.ready.count > 0 && grid.parked.count > 0 && grid.random.below(64) == 0) {
      grid.ready.push(grid.parked.pop(grid.random.below(grid.parked.count)));
    }
  }
  if (grid.ready.count == 0) return nullptr;
  return grid.ready.pop(seeded ? grid.random.below(grid.ready.count) : 0);
}

}  // namespace

Fiber* running() { return grid.current; }
Block& block_of(const Fiber& fiber) { return grid.blocks[fiber.block]; }
Random& dice() { return grid.random; }
void note_progress() { grid.progress++; }

void maybe_switch() {
  if (grid.switchChance == 0 || grid.random.below(256) >= grid.switchChance) return;
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
  // How often threads take turns differs from seed to seed.
  const u32 chances[] = {2, 8, 32, 128};
  grid.switchChance = launch.seed == 0 ? 0 : chances[grid.random.below(4)];
  adopt_flow(grid.scheduler);
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
  for (Block& b : grid.blocks) std::free(b.shared);
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
  if (f != nullptr && length >= 0 && static_cast<std::size_t>(length) < sizeof text) {
    std::snprintf(text + length, sizeof text - length, " (SM %u, thread %u)", f->block, f->thread);
  }
  send_fault(text);
  std::exit(3);
}

}  // namespace emulator
