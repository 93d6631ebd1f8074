// What the tests set and see of the fake GPU.
#ifndef FAKE_CUDA_HPP
#define FAKE_CUDA_HPP

#include "mpk_model.h"

struct FakeGpu {
  // stuck: a token, three steps, then nothing more; deaf: the watchdog reports, but an SM never comes back.
  enum Mode { decoding, watchdog, badToken, fault, stuck, deaf };
  Mode mode = decoding;
  bool untilStopped = false;  // goes on past maxNew until the host's stop word
  int device = 3, major = 9, minor = 0, sms = 132;
  size_t freeBytes = size_t(1) << 32;
  long calls = 0, failAt = 0;  // the call of this number fails
  long live = 0;               // allocations, streams and events
  mpk::u32 comesBack = 0;      // 1: a stuck kernel ends after all
  long freedBusy = 0;          // what was freed while a kernel ran
  bool dirty = false;          // events or steps were not cleared before a launch
  mpk::Params params = {};     // of the last launch
};
extern FakeGpu fakeGpu;
// What the end of a process does to a kernel that never ends.
void endStuckKernel();

inline void storeWord(mpk::u32* word, mpk::u32 value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
inline mpk::u32 loadWord(const mpk::u32* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

#endif
