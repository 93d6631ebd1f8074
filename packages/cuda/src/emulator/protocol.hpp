// Messages between this program and the process that started it: a header of 16 bytes (kind, which,
// bytes), then the payload. Standard input takes requests, standard output gives answers.
#ifndef MPK_PROTOCOL_HPP
#define MPK_PROTOCOL_HPP

#include <cstddef>

#include "emulator.hpp"

namespace emulator {

struct Header {
  u32 kind;
  u32 which;
  u64 bytes;
};

// Requests. `which` is the buffer, where there is one.
enum class Request : u32 {
  allocate = 1,  // payload: u64 bytes, then its name; answered with `address`
  write = 2,     // payload: u64 offset, then bytes
  fill = 3,      // payload: u32 byte value
  read = 4,      // payload: u64 offset, u64 bytes; answered with `bytes`
  pack = 5,      // payload: PackRequest; answered with `done`
  launch = 6,    // payload: LaunchRequest, then the kernel's parameters; answered with `done`
  free = 8,      // no payload, no answer; the number is not given out again
  stop = 7,      // while a launch runs: sets the control block's stop word
};

// Answers.
enum class Answer : u32 {
  address = 1,  // payload: u64
  bytes = 2,
  done = 3,   // of a launch: u64 switches, u64 copies
  token = 4,  // payload: i32, while a launch runs
  fault = 5,  // text; the program ends
};

struct PackRequest {
  u32 dst, tasks, threads, blocks;  // buffers, and the grid
  u64 sources[8];                   // addresses, or 0
  u64 tasksOffset;
  u32 groups, n, k, blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup, folds;
};

struct LaunchRequest {
  u32 blocks, threads, sharedBytes, unused;
  u64 seed;
};

void send(Answer kind, const void* payload, std::size_t bytes);
void send_fault(const char* text);
// Whether a request waits. Never blocks.
bool request_waits();
// Blocks; false at the end of the input.
bool receive(void* to, std::size_t bytes);

}  // namespace emulator

#endif
