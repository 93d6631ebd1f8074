// What happened before what: each thread's knowledge, and how it passes from thread to thread. Built
// without MPK_CHECK, nothing of it is kept.
#ifndef MPK_ORDER_HPP
#define MPK_ORDER_HPP

#include <vector>

#include "clocks.hpp"
#include "shadow.hpp"

namespace emulator {

#if defined(MPK_CHECK)
constexpr bool kChecking = true;
#else
constexpr bool kChecking = false;
#endif

struct Fiber;

// What one who looks here comes to know: all that was done, and what of it is behind a proxy fence.
struct Knowledge {
  ClockRef seen, fenced;

  void join(const Knowledge& other) {
    seen.join(other.seen);
    fenced.join(other.fenced);
  }
};

// A read of a stage that has not been waited for.
struct LateRead {
  const void* p;
  u32 bytes;
  const void* site;
};

// A thread's knowledge and its own time, which moves on whenever others may learn of it.
struct Standing {
  Knowledge known;
  std::vector<LateRead> late;
  u32 time = 1;
  u32 copies = 0;  // that it has started (cp.async)
  u32 twin = 0;    // actor of its copies; 0: none yet
};

// An mbarrier as others learn from it.
struct PhaseOrder {
  Knowledge gathering, done;
  u32 actor = 0;   // of the copies that complete on it
  u32 copies = 0;
};

Actor actor_of(const Fiber& f);
// A number in the fiber's block for what acts beside threads.
u32 new_actor(u32 block);
void begin_order(u32 blocks, u32 threads);
PhaseOrder& phase_order(const u64* bar, u32 block);

// From now on no access is checked, until the next launch.
void stop_checking();

// These threads now know all that any of them knows.
void share_all(Fiber* const* fibers, u32 count);
// What the thread lets others know from here on.
Knowledge publish(Fiber& f);
void learn(Fiber& f, const Knowledge& k);
void fence_proxy(Fiber& f);

// The running thread's access at `site`.
void touch_here(const void* p, u32 bytes, Access access, Manner manner, const void* site);

// The host, as one more actor.
void host_learns(const Knowledge& k);
void host_reads(const void* p, u32 bytes);
bool is_watching();

}  // namespace emulator

#endif
