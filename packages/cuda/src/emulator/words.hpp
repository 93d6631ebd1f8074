// Words that threads use at once without a barrier: what each store left there, and who may still see
// what was there before it.
#ifndef MPK_WORDS_HPP
#define MPK_WORDS_HPP

#include "order.hpp"

namespace emulator {

enum class Change : u32 { set, add, maximum };

// A store, as it comes to memory.
struct Store {
  u32* p;
  u32 v;
  Change change;
  Order order;
  Scope scope;
  Actor writer;
  u32 time;             // of the writer, when it stored
  Knowledge published;  // of a release
};

// Before a launch. Once the word at `abort` is set, nothing is checked any more.
void begin_words(const u32* abort);
void apply(const Store& s);
// What the running thread reads. A relaxed load may give what was there before the last stores: any
// word not older than what the thread, or one that it has learnt from, has seen or overwritten.
u32 read_word(Fiber& f, const u32* p, Order order);
// What the host learns from a word.
void host_learns_from(const u32* p);

}  // namespace emulator

#endif
