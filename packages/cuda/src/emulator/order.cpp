// What happened before what. See order.hpp.
#include "order.hpp"

#include <cstring>
#include <unordered_map>
#include <vector>

#include "scheduler.hpp"

namespace emulator {

namespace {

// Beside the threads of a block: one a stage and one a lane that copies.
constexpr u32 kMoreActors = 160;
std::vector<u32> actorsOf;  // by block
u32 mostActors = 0;
std::unordered_map<const u64*, PhaseOrder> phases;
Knowledge host;
Actor hostActor = {0, 0};
bool watching = true;

}  // namespace

bool is_watching() { return kChecking && watching; }

void stop_checking() { watching = false; }

Actor actor_of(const Fiber& f) { return {f.block, f.thread}; }

u32 new_actor(u32 block) {
  if (actorsOf[block] == mostActors) fault("more copies of their own than the checker can tell apart");
  return actorsOf[block]++;
}

void begin_order(u32 blocks, u32 threads) {
  if (!kChecking) return;
  mostActors = threads + kMoreActors;
  if (blocks > 511 || mostActors > 1023) fault("the checker takes 511 SMs of 863 threads at most");
  // Clocks of the launch before have another shape.
  phases.clear();
  host = {};
  set_clock_shape(blocks + 1, mostActors);
  actorsOf.assign(blocks + 1, threads);
  hostActor = {blocks, 0};
  watching = true;
  forget_touches();
}

PhaseOrder& phase_order(const u64* bar, u32 block) {
  PhaseOrder& o = phases[bar];
  if (o.actor == 0) o.actor = new_actor(block);
  return o;
}

void share_all(Fiber* const* fibers, u32 count) {
  if (!kChecking || count == 0) return;
  Knowledge all = fibers[0]->standing.known;
  std::vector<Actor> actors(count);
  std::vector<u32> times(count);
  u32 latest = 0;
  for (u32 i = 0; i < count; i++) {
    const Standing& s = fibers[i]->standing;
    all.join(s.known);
    actors[i] = actor_of(*fibers[i]);
    times[i] = s.time;
    if (latest < s.time) latest = s.time;
  }
  all.seen.add_all(actors.data(), times.data(), count);
  // One time for all: marks of a warp's lanes can be kept as one.
  for (u32 i = 0; i < count; i++) {
    fibers[i]->standing.known = all;
    fibers[i]->standing.time = latest + 1;
  }
}

Knowledge publish(Fiber& f) {
  if (!kChecking) return {};
  Knowledge k = f.standing.known;
  k.seen.add(actor_of(f), f.standing.time++);
  return k;
}

void learn(Fiber& f, const Knowledge& k) {
  if (kChecking) f.standing.known.join(k);
}

void fence_proxy(Fiber& f) {
  if (!kChecking) return;
  f.standing.known.fenced.join(f.standing.known.seen);
  f.standing.known.fenced.add(actor_of(f), f.standing.time++);
}

void touch_here(const void* p, u32 bytes, Access access, Manner manner, const void* site) {
  if (!kChecking || !watching || !in_arena(p)) return;
  Fiber* f = running();
  if (f == nullptr) return;
  const Standing& s = f->standing;
  touch(p, bytes, {access, manner, actor_of(*f), s.time, &s.known.seen, nullptr, site});
}

void load_late(const void* p, void* to, u32 bytes) {
  std::memcpy(to, p, bytes);
  if (!kChecking || !watching || !in_arena(p)) return;
  Fiber& f = *running();
  const void* site = __builtin_return_address(0);
  Standing& s = f.standing;
  touch(p, bytes, {Access::read, Manner::plain, actor_of(f), kLate, &s.known.seen, nullptr, site});
  s.late.push_back({p, bytes, site});
}

void await_loads() {
  Fiber& f = *running();
  Standing& s = f.standing;
  for (const LateRead& r : s.late) {
    if (!is_watching()) break;
    touch_arrived(r.p, r.bytes, {Access::read, Manner::plain, actor_of(f), s.time, &s.known.seen,
                                 nullptr, r.site});
  }
  s.late.clear();
}

void read_constant(const void* p, u32 bytes) {
  if (watching && in_arena(p) && running() != nullptr) check_constant(p, bytes, __builtin_return_address(0));
}

void host_learns(const Knowledge& k) {
  if (kChecking) host.join(k);
}

void host_reads(const void* p, u32 bytes) {
  if (!kChecking || !watching || !in_arena(p)) return;
  touch(p, bytes, {Access::read, Manner::plain, hostActor, 1, &host.seen, nullptr, nullptr});
}

}  // namespace emulator
