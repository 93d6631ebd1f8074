// The shadow of device memory. See shadow.hpp.
#include "shadow.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "scheduler.hpp"

namespace emulator {

namespace {

constexpr std::size_t kArenaBytes = 1ull << 36;  // addresses only
constexpr std::size_t kPageWords = 1024;

// An access as it is remembered: actor, its time, and where in the program.
struct Mark {
  u32 time = 0;  // 0: none
  u32 block : 9, index : 10, site : 13;
};
static_assert(sizeof(Mark) == 8, "marks are kept for every word");

// Reads of one warp at one time, or of one copy.
struct Readers {
  Mark mark;       // of the warp's first lane
  u32 lanes;       // a bit each
  u32 halves;      // which 16 bits: 1 the lower, 2 the upper
};

struct Word {
  Mark writes[2];  // of each half
  Readers first;
  std::vector<Readers>* more = nullptr;
};

struct Site {
  const void* pc;
  Access access;
  Manner manner;
};

u8* arena = nullptr;
std::size_t arenaUsed = 0;
std::vector<Word*> pages;
std::vector<Site> sites;
std::unordered_map<u64, u32> siteNumbers;

u32 site_number(const Touch& t) {
  static u64 lastKey = 0;
  static u32 lastNumber = 0;
  const u64 kind = static_cast<u64>(t.access) << 62 | static_cast<u64>(t.manner) << 60;
  const u64 key = reinterpret_cast<u64>(t.site) | kind;
  if (key == lastKey && !sites.empty()) return lastNumber;
  auto found = siteNumbers.find(key);
  if (found == siteNumbers.end()) {
    if (sites.size() >= 8192) fault("more than 8192 instructions touch memory");
    found = siteNumbers.emplace(key, static_cast<u32>(sites.size())).first;
    sites.push_back({t.site, t.access, t.manner});
  }
  lastKey = key;
  lastNumber = found->second;
  return lastNumber;
}

const char* words_for(const Site& s) {
  if (s.manner == Manner::copy) return s.access == Access::read ? "copy from it" : "copy to it";
  if (s.manner == Manner::strong) return s.access == Access::read ? "relaxed read" : "relaxed write";
  return s.access == Access::read ? "read" : "write";
}

// Who, how and where, in words; `@address` becomes a line of the source where the message is shown.
struct Told {
  char text[160];

  Told(const Site& s, Actor a) {
    if (s.pc == nullptr) {
      std::snprintf(text, sizeof text, "%s by the host", words_for(s));
    } else if (s.manner == Manner::copy) {
      std::snprintf(text, sizeof text, "%s on SM %u @%p", words_for(s), a.block, s.pc);
    } else {
      std::snprintf(text, sizeof text, "%s by SM %u, thread %u @%p", words_for(s), a.block, a.index,
                    s.pc);
    }
  }
};

[[noreturn]] void report(const void* p, const Mark& before, const Touch& now, const char* why) {
  u64 offset = 0;
  u32 block = 0;
  char place[96];
  if (find_shared(p, &block, &offset)) {
    std::snprintf(place, sizeof place, "shared memory of SM %u at byte %llu", block, offset);
  } else {
    describe_buffer(p, place, sizeof place);
  }
  const Told first(sites[before.site], {before.block, before.index});
  const Told then({now.site, now.access, now.manner}, now.actor);
  fault("%s in %s: %s, then %s", why, place, first.text, then.text);
}

bool knows(const Touch& t, const Mark& m, const ClockRef& clock) {
  // Of a mbarrier's copies none knows the others before the phase ends.
  const bool own = m.block == t.actor.block && m.index == t.actor.index;
  if (own && t.manner != Manner::copy) return true;
  return clock.time_of({m.block, m.index}) >= m.time;
}

// Two strong accesses never race; nor do two copies that one mbarrier counts, if both only read.
bool may_clash(const Touch& t, const Mark& m) {
  return !(t.manner == Manner::strong && sites[m.site].manner == Manner::strong);
}

void check_write(const void* p, const Touch& t, const Mark& m) {
  if (m.time == 0 || !may_clash(t, m)) return;
  if (!knows(t, m, *t.known)) report(p, m, t, "a race");
  const bool ordinary = sites[m.site].manner != Manner::copy;
  if (t.fenced != nullptr && ordinary && !knows(t, m, *t.fenced)) {
    report(p, m, t, "no proxy fence between a write and a bulk copy");
  }
}

// Lanes of a warp are told apart by a mask; everything else by its mark.
bool is_thread(const Mark& m) { return m.index < here.threads; }

void check_readers(const void* p, const Touch& t, const Readers& r, u32 halves) {
  if (r.mark.time == 0 || (r.halves & halves) == 0 || !may_clash(t, r.mark)) return;
  if (r.mark.time == kLate) report(p, r.mark, t, "a race with a read that may be under way");
  Mark m = r.mark;
  if (!is_thread(m)) {
    if (!knows(t, m, *t.known)) report(p, m, t, "a race");
    return;
  }
  for (u32 lanes = r.lanes; lanes != 0; lanes &= lanes - 1) {
    m.index = r.mark.index + static_cast<u32>(__builtin_ctz(lanes));
    if (!knows(t, m, *t.known)) report(p, m, t, "a race");
  }
}

Mark mark_of(const Touch& t) {
  Mark m;
  m.time = t.time;
  m.block = t.actor.block;
  m.index = t.actor.index;
  m.site = site_number(t);
  return m;
}

bool merge(Readers& into, const Mark& base, u32 lane, u32 halves) {
  if (into.mark.time != base.time || into.mark.block != base.block ||
      into.mark.index != base.index || into.mark.site != base.site || into.halves != halves) {
    return false;
  }
  into.lanes |= lane;
  return true;
}

// Reads that the reader knows of need not be remembered: who knows of this one knows of them.
bool is_covered(const Touch& t, const Readers& r, u32 halves) {
  if (r.mark.time == 0) return true;
  if ((r.halves & ~halves) != 0 || !is_thread(r.mark)) return false;
  // A strong read stands in for no plain one: some clash with the plain one alone.
  if (t.manner != sites[r.mark.site].manner) return false;
  Mark m = r.mark;
  for (u32 lanes = r.lanes; lanes != 0; lanes &= lanes - 1) {
    m.index = r.mark.index + static_cast<u32>(__builtin_ctz(lanes));
    if (!knows(t, m, *t.known)) return false;
  }
  return true;
}

void add_reader(Word& w, const Touch& t, u32 halves) {
  Mark base = mark_of(t);
  u32 lane = 1;
  if (t.actor.index < here.threads) {
    lane = 1u << t.actor.index % 32;
    base.index = t.actor.index - t.actor.index % 32;
  }
  if (merge(w.first, base, lane, halves)) return;
  if (w.more != nullptr) {
    for (Readers& r : *w.more) {
      if (merge(r, base, lane, halves)) return;
    }
  }
  const Readers mine = {base, lane, halves};
  if (is_covered(t, w.first, halves)) {
    w.first = mine;
    return;
  }
  if (w.more == nullptr) w.more = new std::vector<Readers>();
  for (Readers& r : *w.more) {
    if (is_covered(t, r, halves)) {
      r = mine;
      return;
    }
  }
  w.more->push_back(mine);
}

// What copies bring may be overwritten as soon as it is handed back, by other threads too.
void check_arrival(const void* p, const Word& w, const Touch& t) {
  const Mark& m = w.writes[0];
  if (t.manner != Manner::plain || t.time == kLate || m.time == 0) return;
  if (sites[m.site].manner == Manner::copy) report(p, m, t, "a read that nothing waits for");
}

// A thread's late read of this word, once it is there.
void take_late(Word& w, Actor reader) {
  const u32 lane = 1u << reader.index % 32;
  auto take = [&](Readers& r) {
    if (r.mark.time != kLate || r.mark.block != reader.block) return;
    if (r.mark.index != reader.index - reader.index % 32) return;
    r.lanes &= ~lane;
    if (r.lanes == 0) r.mark.time = 0;
  };
  take(w.first);
  if (w.more != nullptr) {
    for (Readers& r : *w.more) take(r);
  }
}

void touch_word(const void* p, Word& w, const Touch& t, u32 halves) {
  if (halves & 1) check_write(p, t, w.writes[0]);
  if (halves & 2) check_write(p, t, w.writes[1]);
  if (t.access == Access::read) {
    check_arrival(p, w, t);
    add_reader(w, t, halves);
    return;
  }
  check_readers(p, t, w.first, halves);
  if (w.more != nullptr) {
    for (const Readers& r : *w.more) check_readers(p, t, r, halves);
  }
  const Mark m = mark_of(t);
  if (halves & 1) w.writes[0] = m;
  if (halves & 2) w.writes[1] = m;
  if (halves != 3) return;
  w.first.mark.time = 0;
  if (w.more != nullptr) w.more->clear();
}

Word* word_at(u64 word) {
  const u64 page = word / kPageWords;
  if (page >= pages.size()) pages.resize(page + 1, nullptr);
  if (pages[page] == nullptr) {
    pages[page] = static_cast<Word*>(std::calloc(kPageWords, sizeof(Word)));
  }
  return pages[page] + word % kPageWords;
}

}  // namespace

bool in_arena(const void* p) {
  return static_cast<std::size_t>(static_cast<const u8*>(p) - arena) < arenaUsed;
}

u8* arena_allocate(std::size_t bytes) {
  if (arena == nullptr) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* p = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) fault("no address space for device memory");
    arena = static_cast<u8*>(p);
  }
  constexpr std::size_t kAlignment = 1024;
  // A gap, so that one buffer's end is not the next one's beginning.
  const std::size_t taken = (bytes + 2 * kAlignment - 1) / kAlignment * kAlignment;
  if (taken > kArenaBytes - arenaUsed) fault("no room for %zu bytes of device memory", bytes);
  u8* p = arena + arenaUsed;
  arenaUsed += taken;
  return p;
}

void arena_release(u8* p, std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  const std::size_t lost = (kPage - reinterpret_cast<std::size_t>(p) % kPage) % kPage;
  if (bytes > lost) madvise(p + lost, (bytes - lost) / kPage * kPage, MADV_DONTNEED);
}

void forget_touches() {
  for (Word*& page : pages) {
    if (page == nullptr) continue;
    for (std::size_t i = 0; i < kPageWords; i++) delete page[i].more;
    std::free(page);
    page = nullptr;
  }
}

void touch(const void* p, u32 bytes, const Touch& t) {
  u64 half = static_cast<u64>(static_cast<const u8*>(p) - arena) / 2;
  const u64 end = (static_cast<u64>(static_cast<const u8*>(p) - arena) + bytes + 1) / 2;
  while (half < end) {
    const u64 word = half / 2;
    const u32 halves = half % 2 == 1 ? 2u : half + 1 < end ? 3u : 1u;
    touch_word(arena + word * 4, *word_at(word), t, halves);
    half = (word + 1) * 2;
  }
}

void touch_arrived(const void* p, u32 bytes, const Touch& t) {
  const u64 first = static_cast<u64>(static_cast<const u8*>(p) - arena) / 4;
  for (u64 word = first; word <= first + (bytes - 1) / 4; word++) {
    take_late(*word_at(word), t.actor);
    add_reader(*word_at(word), t, 3);
  }
}

void check_constant(const void* p, u32 bytes, const void* site) {
  const u64 first = static_cast<u64>(static_cast<const u8*>(p) - arena) / 4;
  for (u64 word = first; word <= first + (bytes - 1) / 4; word++) {
    const Word& w = *word_at(word);
    for (const Mark& m : w.writes) {
      if (m.time == 0) continue;
      Touch t = {Access::read, Manner::plain, {here.block, here.thread}, 0, nullptr, nullptr, site};
      report(arena + word * 4, m, t, "read as constant what the launch writes");
    }
  }
}

}  // namespace emulator
