// Vector clocks. See clocks.hpp.
#include "clocks.hpp"

#include <cstdlib>
#include <cstring>

namespace emulator {

namespace {

u32 blockCount = 0, actorCount = 0;

Chunk* new_chunk(const Chunk* from) {
  const std::size_t bytes = sizeof(Chunk) + (actorCount - 1) * sizeof(u32);
  Chunk* made = static_cast<Chunk*>(std::malloc(bytes));
  if (from == nullptr) {
    std::memset(static_cast<void*>(made), 0, bytes);
  } else {
    std::memcpy(static_cast<void*>(made), from, bytes);
  }
  made->users = 1;
  return made;
}

void drop(Chunk* chunk) {
  if (chunk != nullptr && --chunk->users == 0) std::free(chunk);
}

Clock* new_clock(const Clock* from) {
  const std::size_t bytes = sizeof(Clock) + (blockCount - 1) * sizeof(Chunk*);
  Clock* made = static_cast<Clock*>(std::malloc(bytes));
  made->users = 1;
  for (u32 i = 0; i < blockCount; i++) {
    made->chunks[i] = from == nullptr ? nullptr : from->chunks[i];
    if (made->chunks[i] != nullptr) made->chunks[i]->users++;
  }
  return made;
}

void drop(Clock* clock) {
  if (clock == nullptr || --clock->users > 0) return;
  for (u32 i = 0; i < blockCount; i++) drop(clock->chunks[i]);
  std::free(clock);
}

bool covers(const Chunk* a, const Chunk* b) {
  for (u32 i = 0; i < actorCount; i++) {
    if (a->times[i] < b->times[i]) return false;
  }
  return true;
}

// Clocks are shared, so a change begins with a copy.
void make_own(Clock*& clock) {
  if (clock != nullptr && clock->users == 1) return;
  Clock* made = new_clock(clock);
  drop(clock);
  clock = made;
}

Chunk* own_chunk(Clock* clock, u32 block) {
  Chunk*& chunk = clock->chunks[block];
  if (chunk == nullptr || chunk->users > 1) {
    Chunk* made = new_chunk(chunk);
    drop(chunk);
    chunk = made;
  }
  return chunk;
}

}  // namespace

void set_clock_shape(u32 blocks, u32 actors) {
  blockCount = blocks;
  actorCount = actors;
}

ClockRef::ClockRef(const ClockRef& other) : clock(other.clock) {
  if (clock != nullptr) clock->users++;
}

ClockRef::~ClockRef() { drop(clock); }

void ClockRef::join(const ClockRef& other) {
  if (other.clock == nullptr || other.clock == clock) return;
  if (clock == nullptr) {
    *this = other;
    return;
  }
  for (u32 i = 0; i < blockCount; i++) {
    Chunk* theirs = other.clock->chunks[i];
    const Chunk* mine = clock->chunks[i];
    if (theirs == nullptr || theirs == mine) continue;
    if (mine != nullptr && covers(mine, theirs)) continue;
    make_own(clock);
    if (mine == nullptr || covers(theirs, mine)) {
      theirs->users++;
      drop(clock->chunks[i]);
      clock->chunks[i] = theirs;
      continue;
    }
    Chunk* both = own_chunk(clock, i);
    for (u32 t = 0; t < actorCount; t++) {
      if (both->times[t] < theirs->times[t]) both->times[t] = theirs->times[t];
    }
  }
}

void ClockRef::add_all(const Actor* actors, const u32* times, u32 count) {
  if (count == 0) return;
  make_own(clock);
  Chunk* chunk = own_chunk(clock, actors[0].block);
  for (u32 i = 0; i < count; i++) {
    if (chunk->times[actors[i].index] < times[i]) chunk->times[actors[i].index] = times[i];
  }
}

}  // namespace emulator
