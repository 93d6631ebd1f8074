// A model on a GPU: whether it fits there, and all that it holds between two generations.
#ifndef MPK_LOAD_HPP
#define MPK_LOAD_HPP

#include <atomic>
#include <cstdio>

#include "mpk_pack.hpp"

namespace mpk {

// What a driver keeps for itself once kernels run (local memory, printf buffers).
const u64 kMarginBytes = 64ull << 20;

inline int attribute(int device, cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "asking for the GPU's properties");
  return value;
}

// Refuses a GPU that the kernel was not compiled for.
inline void checkTarget(const Model& model, int device) {
  const int major = attribute(device, cudaDevAttrComputeCapabilityMajor);
  const int minor = attribute(device, cudaDevAttrComputeCapabilityMinor);
  unsigned wanted = 0;
  char suffix = '\0';
  std::sscanf(model.target, "sm_%u%c", &wanted, &suffix);
  const int wantedMajor = static_cast<int>(wanted / 10);
  const int wantedMinor = static_cast<int>(wanted % 10);
  // An "a" target runs on exactly its own chip, others on later minors too.
  const bool fits = suffix == '\0' ? wantedMinor <= minor : wantedMinor == minor;
  const std::string found = "sm_" + std::to_string(major) + std::to_string(minor);
  if (wantedMajor != major || !fits) {
    throw Failure{MPK_ERROR_ENVIRONMENT, std::string("the kernel is for ") + model.target +
                                             ", the GPU is " + found +
                                             "; compile with --target " + found};
  }
  const int sms = attribute(device, cudaDevAttrMultiProcessorCount);
  if (model.blocks > static_cast<u32>(sms)) {
    throw Failure{MPK_ERROR_ENVIRONMENT, "the kernel needs " + std::to_string(model.blocks) +
                                             " SMs at once, the GPU has " + std::to_string(sms) +
                                             "; compile with --sms " + std::to_string(sms)};
  }
  const int shared = attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (model.sharedBytes > static_cast<u32>(shared)) {
    throw Failure{MPK_ERROR_ENVIRONMENT,
                  "the kernel needs " + std::to_string(model.sharedBytes) +
                      " bytes of shared memory, a block has " + std::to_string(shared) +
                      "; compile with --target " + found};
  }
}

// Refuses a model that does not fit the free memory, before any of it is taken.
inline void checkMemory(const Model& model) {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the GPU's free memory");
  const u64 weights = model.streamBytes + model.residentBytes, packing = packScratchBytes(model);
  const u64 rest = model.scratchBytes + model.eventBytes + model.stepBytes + 4ull * model.pages +
                   4ull * model.maxContext + kMarginBytes;
  const u64 needed = weights + packing + model.kvBytes + rest;
  if (needed <= free) return;
  throw Failure{MPK_ERROR_MEMORY,
                mebibytes(needed) + " of GPU memory needed, " + mebibytes(free) +
                    " are free: weights " + mebibytes(weights) + ", packing them " +
                    mebibytes(packing) + ", KV cache of " + std::to_string(model.maxContext) +
                    " tokens " + mebibytes(model.kvBytes) + ", other " + mebibytes(rest) +
                    "; compile with a smaller --max-context, or free GPU memory"};
}

}  // namespace mpk

struct mpk_model {
  int device = 0;
  std::vector<int> eosIds;
  mpk::Stream stream;
  mpk::Event start, end;
  mpk::DeviceMemory packed, resident, scratch, kv, pageTable, events, steps, prompt;
  mpk::MappedMemory control, tokens;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  // The GPU stopped answering: each call that frees something would wait for a kernel that never ends.
  bool lost = false;

  // With the device current.
  void load(const mpk::Model& model, const mpk::Checkpoint& checkpoint) {
    using namespace mpk;
    eosIds = checkpoint.eosIds();
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(model.decodeKernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(model.sharedBytes)),
          "preparing the kernel");
    stream = makeStream();
    start = makeEvent();
    end = makeEvent();
    packed = allocate(model.streamBytes, "the streamed weights");
    resident = allocate(model.residentBytes, "the resident weights");
    scratch = allocate(model.scratchBytes, "the activations");
    kv = allocate(model.kvBytes, "the KV cache");
    pageTable = allocate(4ull * model.pages, "the page table");
    events = allocate(model.eventBytes, "the events");
    steps = allocate(model.stepBytes, "the step descriptors");
    prompt = allocate(4ull * model.maxContext, "the prompt");
    control = MappedMemory(4ull * kControlWords, "the control block");
    tokens = MappedMemory(4ull * model.maxContext, "the tokens");
    packWeights(model, checkpoint, stream.get(), static_cast<u8*>(resident.get()),
                static_cast<u8*>(packed.get()));
    // One sequence: logical page i is physical page i.
    std::vector<i32> pages(model.pages);
    for (u32 i = 0; i < model.pages; i++) pages[i] = static_cast<i32>(i);
    upload(pages.data(), pages.size(), pageTable);
  }

  void upload(const mpk::i32* ids, size_t count, const mpk::DeviceMemory& to) {
    using mpk::check;
    check(cudaMemcpyAsync(to.get(), ids, 4 * count, cudaMemcpyHostToDevice, stream.get()),
          "uploading token ids");
    check(cudaStreamSynchronize(stream.get()), "uploading token ids");
  }
};

#endif
