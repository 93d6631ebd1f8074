// The emulated device as a program: buffers, packing, launches, by requests (protocol.hpp).
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "memory.hpp"
#include "order.hpp"
#include "protocol.hpp"
#include "scheduler.hpp"

namespace emulator {

namespace {

struct Buffer {
  u8* bytes;
  u64 size;
  std::string name;
};
std::vector<Buffer> buffers;

void write_all(const void* from, std::size_t bytes) {
  const u8* at = static_cast<const u8*>(from);
  while (bytes > 0) {
    const ssize_t wrote = write(STDOUT_FILENO, at, bytes);
    if (wrote <= 0) std::_Exit(4);  // nobody listens any more
    at += wrote;
    bytes -= static_cast<std::size_t>(wrote);
  }
}

u8* place(u32 which, u64 offset, u64 bytes) {
  if (which >= buffers.size() || offset > buffers[which].size ||
      bytes > buffers[which].size - offset) {
    fault("request for bytes %llu to %llu of buffer %u, which it has not", offset, offset + bytes,
          which);
  }
  return buffers[which].bytes + offset;
}

template <class T> T take(const std::vector<u8>& payload) {
  T value;
  if (payload.size() < sizeof value) fault("a request of %zu bytes is short", payload.size());
  std::memcpy(&value, payload.data(), sizeof value);
  return value;
}

// The launch that runs, as its host sees it.
HostWords words;
u32 given = 0;

void give_tokens() {
  const u32 produced = host_load(&words.control[mpk_kernel.producedWord]);
  for (; given < produced; given++) {
    host_reads(&words.tokens[given], 4);
    send(Answer::token, &words.tokens[given], 4);
  }
}

// The host's side: hands tokens on as they come, and the wish to stop.
void host_turn() {
  give_tokens();
  if (!request_waits()) return;
  Header header;
  if (!receive(&header, sizeof header)) std::_Exit(0);
  if (header.kind != static_cast<u32>(Request::stop)) fault("request %u during a launch", header.kind);
  words.control[mpk_kernel.stopWord] = 1;
}

void launch(const std::vector<u8>& payload) {
  const LaunchRequest request = take<LaunchRequest>(payload);
  const Kernel& k = mpk_kernel;
  if (payload.size() != sizeof request + k.paramsBytes || request.blocks != k.blocks ||
      request.threads != k.threads || request.sharedBytes < k.sharedBytes) {
    fault("the launch does not fit the kernel: is the manifest of another source?");
  }
  std::vector<u64> params((k.paramsBytes + 7) / 8);
  std::memcpy(params.data(), payload.data() + sizeof request, k.paramsBytes);
  words = k.hostWords(params.data());
  given = 0;
  const Tally tally = run_grid(
      {params.data(), request.blocks, request.threads, request.sharedBytes, words.abort,
       request.seed},
      host_turn);
  give_tokens();
  send(Answer::done, &tally, sizeof tally);
}

// The pack kernel's threads need nothing of each other: one after another.
void pack(const std::vector<u8>& payload) {
  const PackRequest r = take<PackRequest>(payload);
  PackArguments a = {};
  a.dst = place(r.dst, 0, 0);
  a.tasks = reinterpret_cast<const u32*>(place(r.tasks, r.tasksOffset, 16ull * r.blocks));
  for (u32 i = 0; i < 8; i++) a.sources[i] = reinterpret_cast<const u16*>(r.sources[i]);
  a.groups = r.groups;
  a.n = r.n;
  a.k = r.k;
  a.blocksPerChunk = r.blocksPerChunk;
  a.chunksPerTile = r.chunksPerTile;
  a.chunksPerSlice = r.chunksPerSlice;
  a.tilesPerGroup = r.tilesPerGroup;
  a.folds = r.folds;
  for (u32 block = 0; block < r.blocks; block++) {
    for (u32 thread = 0; thread < r.threads; thread++) {
      here = {thread, block, r.threads, nullptr};
      mpk_kernel.pack(a);
    }
  }
  send(Answer::done, nullptr, 0);
}

void serve(const Header& header, std::vector<u8>& payload) {
  switch (static_cast<Request>(header.kind)) {
    case Request::allocate: {
      const u64 size = take<u64>(payload);
      buffers.push_back({allocate(size), size, std::string(payload.begin() + 8, payload.end())});
      const u64 address = reinterpret_cast<u64>(buffers.back().bytes);
      return send(Answer::address, &address, sizeof address);
    }
    case Request::write: {
      const u64 offset = take<u64>(payload), bytes = payload.size() - 8;
      if (bytes > 0) std::memcpy(place(header.which, offset, bytes), payload.data() + 8, bytes);
      return;
    }
    case Request::fill: {
      const u64 size = header.which < buffers.size() ? buffers[header.which].size : 0;
      if (size > 0) std::memset(place(header.which, 0, size), static_cast<int>(take<u32>(payload)), size);
      return;
    }
    case Request::read: {
      u64 range[2];
      if (payload.size() != sizeof range) fault("a read request of %zu bytes", payload.size());
      std::memcpy(range, payload.data(), sizeof range);
      return send(Answer::bytes, place(header.which, range[0], range[1]), range[1]);
    }
    case Request::free:
      place(header.which, 0, 0);
      release(buffers[header.which].bytes, buffers[header.which].size);
      buffers[header.which] = {nullptr, 0, ""};
      return;
    case Request::pack:
      return pack(payload);
    case Request::launch:
      return launch(payload);
    case Request::stop:
      return;  // it came after the launch had ended
  }
  fault("request %u is unknown", header.kind);
}

}  // namespace

void send(Answer kind, const void* payload, std::size_t bytes) {
  const Header header = {static_cast<u32>(kind), 0, bytes};
  write_all(&header, sizeof header);
  if (bytes > 0) write_all(payload, bytes);
}

bool is_in_buffer(const void* p, std::size_t bytes) {
  static std::size_t last = 0;  // most copies come from where the one before came from
  for (std::size_t i = 0; i < buffers.size(); i++, last = (last + 1) % buffers.size()) {
    const Buffer& b = buffers[last];
    const u64 at = static_cast<u64>(static_cast<const u8*>(p) - b.bytes);
    if (b.bytes != nullptr && at <= b.size && bytes <= b.size - at) return true;
  }
  return false;
}

void describe_buffer(const void* p, char* text, std::size_t bytes) {
  for (const Buffer& b : buffers) {
    const u64 at = static_cast<u64>(static_cast<const u8*>(p) - b.bytes);
    if (at >= b.size) continue;
    std::snprintf(text, bytes, "%s at byte %llu", b.name.c_str(), at);
    return;
  }
  std::snprintf(text, bytes, "no buffer");
}

void send_fault(const char* text) { send(Answer::fault, text, std::strlen(text)); }

bool request_waits() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

bool receive(void* to, std::size_t bytes) {
  u8* at = static_cast<u8*>(to);
  while (bytes > 0) {
    const ssize_t got = read(STDIN_FILENO, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace emulator

int main() {
  using namespace emulator;
  Header header;
  std::vector<u8> payload;
  while (receive(&header, sizeof header)) {
    payload.resize(header.bytes);
    if (!receive(payload.data(), payload.size())) return 1;
    serve(header, payload);
  }
  return 0;
}
