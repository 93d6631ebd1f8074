// Puts a checkpoint's weights on the GPU: raw through pinned memory, packed there by the kernel.
#ifndef MPK_PACK_HPP
#define MPK_PACK_HPP

#include "mpk_checkpoint.hpp"
#include "mpk_device.hpp"
#include "mpk_model.h"

namespace mpk {

inline uint64_t bytesOf(const Part& part) { return 2ull * part.rows * part.columns; }

inline uint64_t bytesOf(const Group& group) {
  uint64_t sum = 0;
  for (u32 i = 0; i < group.partCount; i++) sum += bytesOf(group.parts[i]);
  return sum;
}

// The task list lies before the sources, which start aligned for the kernel's widest loads.
inline uint64_t taskBytes(const PackEntry& entry) {
  return (4ull * entry.taskWords + 255) / 256 * 256;
}

// GPU memory that packing needs beside its result, freed before mpk_open returns.
inline uint64_t packScratchBytes(const Model& model) {
  uint64_t most = 0;
  for (u32 i = 0; i < model.packCount; i++) {
    uint64_t bytes = taskBytes(model.pack[i]);
    for (u32 g = 0; g < model.pack[i].groupCount; g++) bytes += bytesOf(model.pack[i].groups[g]);
    most = std::max(most, bytes);
  }
  return most;
}

// Throws Failure for the first tensor that the model needs and the checkpoint does not have so.
inline void checkWeights(const Model& model, const Checkpoint& checkpoint) {
  const auto checkGroup = [&](const Group& group) {
    for (u32 i = 0; i < group.partCount; i++) {
      const Part& part = group.parts[i];
      checkpoint.expect(part.tensor, part.rows, part.columns);
    }
  };
  for (u32 i = 0; i < model.residentCount; i++) checkGroup(model.resident[i].weight);
  for (u32 i = 0; i < model.packCount; i++) {
    for (u32 g = 0; g < model.pack[i].groupCount; g++) checkGroup(model.pack[i].groups[g]);
  }
}

// Copies through two pinned pieces in turn: one fills while the other travels.
class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {
    for (Piece& piece : pieces_) {
      piece.memory = MappedMemory(kPieceBytes, "uploads");
      piece.done = makeEvent();
    }
  }
  // The pieces must outlive copies under way, also when packing fails halfway.
  ~Uploader() {
    if (copying_) cudaStreamSynchronize(stream_);
  }
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // Waits for all work on the stream.
  void finish() {
    check(cudaStreamSynchronize(stream_), "packing weights");
    copying_ = false;
  }

  void words(const u32* from, u32 count, u8* to) {
    const u32 most = kPieceBytes / 4;
    for (u32 lo = 0; lo < count; lo += most) {
      const u32 n = std::min(most, count - lo);
      Piece& piece = nextPiece();
      std::memcpy(piece.memory.host<u32>(), from + lo, 4ull * n);
      send(piece, 4ull * n, to + 4ull * lo);
    }
  }

  // All parts as bf16, one below the other.
  void group(const Checkpoint& checkpoint, const Group& group, u8* to) {
    for (u32 i = 0; i < group.partCount; i++) {
      const Part& part = group.parts[i];
      tensor(checkpoint.expect(part.tensor, part.rows, part.columns), bytesOf(part) / 2, to);
      to += bytesOf(part);
    }
  }

 private:
  static const u32 kPieceBytes = 16u << 20;
  struct Piece {
    MappedMemory memory;
    Event done;
  };
  cudaStream_t stream_;
  Piece pieces_[2];
  u32 next_ = 0;
  bool copying_ = false;

  void tensor(const Tensor& tensor, uint64_t elements, u8* to) {
    const uint64_t most = kPieceBytes / 2;
    for (uint64_t lo = 0; lo < elements; lo += most) {
      const size_t n = static_cast<size_t>(std::min(most, elements - lo));
      Piece& piece = nextPiece();
      toBf16(tensor, lo, n, piece.memory.host<uint16_t>());
      send(piece, 2 * n, to + 2 * lo);
    }
  }
  Piece& nextPiece() {
    Piece& piece = pieces_[next_++ % 2];
    check(cudaEventSynchronize(piece.done.get()), "uploading weights");
    return piece;
  }
  void send(Piece& piece, uint64_t bytes, u8* to) {
    const void* from = piece.memory.host<u8>();
    copying_ = true;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "uploading weights");
    check(cudaEventRecord(piece.done.get(), stream_), "uploading weights");
  }
};

inline void packEntry(const Model& model, const PackEntry& entry, const Checkpoint& checkpoint,
                      Uploader& upload, cudaStream_t stream, u8* scratch, u8* packed) {
  const u32* tasks = reinterpret_cast<const u32*>(scratch);
  const u16* sources[8] = {};
  upload.words(entry.tasks, entry.taskWords, scratch);
  u8* at = scratch + taskBytes(entry);
  for (u32 g = 0; g < entry.groupCount; g++) {
    sources[g] = reinterpret_cast<const u16*>(at);
    upload.group(checkpoint, entry.groups[g], at);
    at += bytesOf(entry.groups[g]);
  }
  PackNumbers numbers = entry.numbers;
  void* arguments[] = {
      &packed,     &tasks,      &sources[0], &sources[1],    &sources[2],
      &sources[3], &sources[4], &sources[5], &sources[6],    &sources[7],
      &numbers.groups,         &numbers.n,  &numbers.k,     &numbers.blocksPerChunk,
      &numbers.chunksPerTile,  &numbers.chunksPerSlice,     &numbers.tilesPerGroup,
      &numbers.folds,
  };
  const void* kernel = reinterpret_cast<const void*>(model.packKernel);
  check(cudaLaunchKernel(kernel, dim3(entry.taskWords / 4), dim3(model.packThreads), arguments, 0,
                         stream),
        "packing weights");
}

// Uploads the resident weights and packs the streamed ones; returns once the GPU is done.
inline void packWeights(const Model& model, const Checkpoint& checkpoint, cudaStream_t stream,
                        u8* resident, u8* packed) {
  const DeviceMemory scratch = allocate(packScratchBytes(model), "packing the weights");
  Uploader upload(stream);
  for (u32 i = 0; i < model.residentCount; i++) {
    upload.group(checkpoint, model.resident[i].weight, resident + model.resident[i].offsetBytes);
  }
  for (u32 i = 0; i < model.packCount; i++) {
    packEntry(model, model.pack[i], checkpoint, upload, stream, static_cast<u8*>(scratch.get()),
              packed);
  }
  upload.finish();
}

}  // namespace mpk

#endif
