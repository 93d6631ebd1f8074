// Memory of the emulated device, and stores on their way to it.
#ifndef MPK_MEMORY_HPP
#define MPK_MEMORY_HPP

#include <cstddef>

#include "emulator.hpp"

namespace emulator {

// Memory that reads as NaN, in float32 and in bf16, until it is written. Aligned to 1024 bytes.
u8* allocate(std::size_t bytes);
void release(u8* p, std::size_t bytes);

// Strong stores of an SM on their way to where other SMs see them: they get there late, and out of
// order where nothing orders them. Whether there are any; lets one arrive, or all.
bool stores_pending();
void finish_stores(bool all);
// A thread of this SM is about to access these bytes: its own SM's stores come first.
void finish_own_stores(const void* p, u32 bytes);
// Before a launch. Once the word at `abort` is set, nothing is checked any more.
void begin_memory(const u32* abort);
// The host looks at a word that the kernel wrote for it.
u32 host_load(const u32* p);

}  // namespace emulator

#endif
