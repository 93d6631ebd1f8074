// Who touched each word last, and whether the one who touches it now knows of that: finds races even
// where the values happen to be right (after FastTrack, Flanagan and Freund 2009).
#ifndef MPK_SHADOW_HPP
#define MPK_SHADOW_HPP

#include <cstddef>

#include "clocks.hpp"

namespace emulator {

enum class Access : u32 { read, write };
// How: `plain` races with everything that is unordered, `strong` (relaxed and volatile accesses)
// with plain ones only, `copy` is a copy engine's.
enum class Manner : u32 { plain, strong, copy };

struct Touch {
  Access access;
  Manner manner;
  Actor actor;
  u32 time;
  const ClockRef* known;  // what the actor knows of others
  // Copies by the async proxy see ordinary writes only behind a proxy fence; null: no such copy.
  const ClockRef* fenced;
  const void* site;  // the instruction
};

// Device memory comes from one range of addresses, with a shadow.
u8* arena_allocate(std::size_t bytes);
// Gives the memory back; its addresses are not used again.
void arena_release(u8* p, std::size_t bytes);
bool in_arena(const void* p);
// Before a launch: all that was done before is known to all.
void forget_touches();
// Checks and records; faults at a race.
void touch(const void* p, u32 bytes, const Touch& t);
// The time of a read that may be under way when its thread lets others know of what it did. Once it has
// been waited for, it has happened at `t.time`.
constexpr u32 kLate = 0xffffffff;
void touch_arrived(const void* p, u32 bytes, const Touch& t);
// A read past coherence (ld.global.nc): nobody may have written since the launch began.
void check_constant(const void* p, u32 bytes, const void* site);

}  // namespace emulator

#endif
