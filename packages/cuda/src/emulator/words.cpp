// Words that threads use at once. See words.hpp.
#include "words.hpp"

#include <unordered_map>
#include <vector>

#include "scheduler.hpp"

namespace emulator {

namespace {

struct Moment {
  Actor actor;
  u32 time;
};

// What one store left, and who has read it.
struct Message {
  u32 value;
  Moment written;
  std::vector<Moment> read;
};
// Readers remembered: with more, nobody reads what came before.
constexpr std::size_t kMostReaders = 48;
constexpr std::size_t kMostMessages = 4;

struct StrongWord {
  // What who reads with acquire comes to know; of system scope, the host too.
  Knowledge gpu, system;
  std::vector<Message> messages;  // oldest first
};
std::unordered_map<const u32*, StrongWord> wordsAt;
const u32* abortWord = nullptr;

bool knows(const Fiber& f, const Moment& m) {
  const Actor own = actor_of(f);
  if (m.time == 0 || (own.block == m.actor.block && own.index == m.actor.index)) return true;
  return f.standing.known.seen.time_of(m.actor) >= m.time;
}

// Whether the thread must not see anything older than this.
bool binds(const Fiber& f, const Message& m) {
  if (knows(f, m.written) || m.read.size() >= kMostReaders) return true;
  for (const Moment& r : m.read) {
    if (knows(f, r)) return true;
  }
  return false;
}

void note_reader(Fiber& f, Message& m) {
  const Actor own = actor_of(f);
  for (const Moment& r : m.read) {
    if (r.actor.block == own.block && r.actor.index == own.index) return;
  }
  if (m.read.size() < kMostReaders) m.read.push_back({own, f.standing.time});
}

}  // namespace

void begin_words(const u32* abort) {
  wordsAt.clear();
  abortWord = abort;
}

void apply(const Store& s) {
  if (s.p == abortWord) stop_checking();
  const u32 before = *s.p;
  switch (s.change) {
    case Change::set: *s.p = s.v; break;
    case Change::add: *s.p += s.v; break;
    case Change::maximum: *s.p = *s.p < s.v ? s.v : *s.p; break;
  }
  note_progress();
  if (!kChecking) return;
  StrongWord& w = wordsAt[s.p];
  // Written by ordinary stores meanwhile: what was there is over.
  if (w.messages.empty() || w.messages.back().value != before) {
    w.messages.clear();
    w.messages.push_back({before, {{0, 0}, 0}, {}});
  }
  if (w.messages.size() == kMostMessages) w.messages.erase(w.messages.begin());
  w.messages.push_back({*s.p, {s.writer, s.time}, {}});
  // A plain store begins anew; what adds to a word keeps what was released there before.
  if (s.change == Change::set) {
    w.gpu = {};
    w.system = {};
  }
  if (s.order != Order::release) return;
  w.gpu.join(s.published);
  if (s.scope == Scope::system) w.system.join(s.published);
}

u32 read_word(Fiber& f, const u32* p, Order order) {
  if (!kChecking) return *p;
  StrongWord& w = wordsAt[p];
  if (order == Order::acquire) learn(f, w.gpu);
  if (w.messages.empty() || w.messages.back().value != *p) return *p;
  std::size_t i = w.messages.size() - 1;
  if (order == Order::relaxed && is_seeded() && dice().below(4) == 0) {
    while (i > 0 && !binds(f, w.messages[i]) && dice().below(4) != 0) i--;
  }
  note_reader(f, w.messages[i]);
  return w.messages[i].value;
}

void host_learns_from(const u32* p) {
  if (kChecking) host_learns(wordsAt[p].system);
}

}  // namespace emulator
