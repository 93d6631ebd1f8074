// Memory of the emulated device.
#ifndef MPK_MEMORY_HPP
#define MPK_MEMORY_HPP

#include <cstddef>

#include "emulator.hpp"

namespace emulator {

// Memory that reads as NaN, in float32 and in bf16, until it is written. Aligned to 1024 bytes.
u8* allocate(std::size_t bytes);

}  // namespace emulator

#endif
