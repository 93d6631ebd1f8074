// A GPU of host memory: the CUDA calls that the launcher uses, the real pack kernel run block by
// block, and a decode kernel on a thread that keeps the protocol of Params and the control block.
#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "fake_cuda.hpp"

#define MPK_DEVICE static inline
#define MPK_KERNEL extern "C"

using namespace mpk;

// ---- the pack kernel's machine ------------------------------------------------------------------
namespace {
struct Vec4 {
  u32 x, y, z, w;
};
u32 currentBlock, currentThread, currentThreads;
u32 thread_index() { return currentThread; }
u32 block_index() { return currentBlock; }
u32 block_threads() { return currentThreads; }
u16 load_const_u16(const u16* p) { return *p; }
void store_vec4(void* p, Vec4 v) { std::memcpy(p, &v, 16); }
}  // namespace

#include "../../src/device/pack.cuh"

// ---- the decode kernel --------------------------------------------------------------------------
// The host calls it by its address only.
extern "C" void mpk_decode(Params) {}

FakeGpu fakeGpu;

namespace {

std::thread running;
std::atomic<bool> ended{true};

void endWith(u32* control, u32 status) { storeWord(control + kControlStatus, status); }

void reportWatchdog(u32* control) {
  const u32 words[][2] = {
      {kControlReportKind, kReportEvent}, {kControlReportSm, 7},
      {kControlReportInstruction, 11},    {kControlReportOp, 1},
      {kControlReportEvent, 42},          {kControlReportExpected, 6},
      {kControlReportSeen, 5},            {kControlReportStep, 2},
  };
  for (const auto& word : words) storeWord(control + word[0], word[1]);
  endWith(control, kStatusWatchdog);
}

// Token i after a prompt is (sum of the prompt + 3 i) mod vocab; logits are 1000 step + index.
void decode(Params p) {
  u32* control = reinterpret_cast<u32*>(p.control);
  if (fakeGpu.mode == FakeGpu::watchdog) return reportWatchdog(control);
  if (fakeGpu.mode == FakeGpu::badToken) {
    storeWord(control + kControlSteps, 4);
    return endWith(control, kStatusBadToken);
  }
  if (fakeGpu.mode == FakeGpu::fault) return;
  if (fakeGpu.mode == FakeGpu::deaf) reportWatchdog(control);
  if (fakeGpu.mode == FakeGpu::deaf || fakeGpu.mode == FakeGpu::stuck) {
    reinterpret_cast<i32*>(p.tokens)[0] = 9;
    storeWord(control + kControlProduced, 1);
    storeWord(control + kControlSteps, 3);
    while (!loadWord(&fakeGpu.comesBack)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return;
  }
  u32 sum = 0, step = 0;
  const auto endStep = [&] {
    if (step < p.logitsSteps) {
      float* row = reinterpret_cast<float*>(p.logitsLog) + step * kModel.vocab;
      for (u32 i = 0; i < kModel.vocab; i++) row[i] = 1000.0f * static_cast<float>(step) + i;
    }
    if (step < p.stampCount) reinterpret_cast<u64*>(p.stamps)[step] = 5000 + 10 * step;
    storeWord(control + kControlSteps, ++step);
  };
  for (u32 i = 0; i < p.promptCount; i++) {
    sum += static_cast<u32>(reinterpret_cast<const i32*>(p.prompt)[i]);
    if ((i + 1) % p.promptChunk == 0 && i + 1 < p.promptCount) endStep();
  }
  for (u32 i = 0;; i++) {
    const i32 token = static_cast<i32>((sum + 3 * i) % kModel.vocab);
    reinterpret_cast<i32*>(p.tokens)[i] = token;
    storeWord(control + kControlProduced, i + 1);
    endStep();
    for (u32 e = 0; e < p.eosCount; e++) {
      if (p.eos[e] == token) return endWith(control, kStatusEos);
    }
    if (i + 1 == p.maxNew && !fakeGpu.untilStopped) return endWith(control, kStatusMaxNew);
    if (loadWord(control + kControlStop)) return endWith(control, kStatusStopped);
    if (i + 1 == p.maxNew) i--;  // produces the last one again and again
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
}

void join() {
  if (running.joinable()) running.join();
}

// Counts a call that may fail; the chosen one does.
bool fails() { return ++fakeGpu.calls == fakeGpu.failAt; }
#define MPK_FALLIBLE \
  if (fails()) return cudaErrorUnknown

void* take(size_t bytes) {
  fakeGpu.live++;
  void* at = std::malloc(bytes);
  // Stale bytes, as a GPU has them; the rest of large ones is left to the sanitizer.
  std::memset(at, 0xa5, bytes < 65536 ? bytes : 65536);
  return at;
}
cudaError_t giveBack(void* at) {
  if (!ended) fakeGpu.freedBusy++;
  fakeGpu.live--;
  std::free(at);
  return cudaSuccess;
}

}  // namespace

void endStuckKernel() {
  storeWord(&fakeGpu.comesBack, 1);
  join();
  storeWord(&fakeGpu.comesBack, 0);
}

extern "C" {
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "made to fail"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorFake"; }
cudaError_t cudaGetDevice(int* device) {
  MPK_FALLIBLE;
  *device = fakeGpu.device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  fakeGpu.device = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  MPK_FALLIBLE;
  *value = which == cudaDevAttrComputeCapabilityMajor   ? fakeGpu.major
           : which == cudaDevAttrComputeCapabilityMinor ? fakeGpu.minor
           : which == cudaDevAttrMultiProcessorCount    ? fakeGpu.sms
                                                        : 227 * 1024;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  MPK_FALLIBLE;
  *free = fakeGpu.freeBytes;
  *total = fakeGpu.freeBytes;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  MPK_FALLIBLE;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** at, size_t bytes) {
  MPK_FALLIBLE;
  *at = take(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* at) { return giveBack(at); }
cudaError_t cudaHostAlloc(void** at, size_t bytes, unsigned) {
  MPK_FALLIBLE;
  *at = take(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* at) { return giveBack(at); }
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  MPK_FALLIBLE;
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  MPK_FALLIBLE;
  *stream = static_cast<cudaStream_t>(take(1));
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return giveBack(stream); }
cudaError_t cudaStreamQuery(cudaStream_t) {
  if (!ended) return cudaErrorNotReady;
  join();
  return fakeGpu.mode == FakeGpu::fault ? cudaErrorIllegalAddress : cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  join();
  MPK_FALLIBLE;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  MPK_FALLIBLE;
  *event = static_cast<cudaEvent_t>(take(1));
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return giveBack(event); }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  MPK_FALLIBLE;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  MPK_FALLIBLE;
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* millis, cudaEvent_t, cudaEvent_t) {
  MPK_FALLIBLE;
  *millis = 1.5f;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  MPK_FALLIBLE;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  MPK_FALLIBLE;
  std::memset(at, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** args, size_t,
                             cudaStream_t) {
  MPK_FALLIBLE;
  if (kernel != reinterpret_cast<const void*>(mpk_pack)) return cudaErrorInvalidDeviceFunction;
  const u16* src[8];
  for (int i = 0; i < 8; i++) src[i] = *static_cast<const u16**>(args[2 + i]);
  u32 n[8];
  for (int i = 0; i < 8; i++) n[i] = *static_cast<u32*>(args[10 + i]);
  currentThreads = block.x;
  for (currentBlock = 0; currentBlock < grid.x; currentBlock++) {
    for (currentThread = 0; currentThread < block.x; currentThread++) {
      mpk_pack(*static_cast<u8**>(args[0]), *static_cast<const u32**>(args[1]), src[0], src[1],
               src[2], src[3], src[4], src[5], src[6], src[7], n[0], n[1], n[2], n[3], n[4], n[5],
               n[6], n[7]);
    }
  }
  return cudaSuccess;
}
cudaError_t cudaLaunchCooperativeKernel(const void* kernel, dim3 grid, dim3 block, void** args,
                                        size_t sharedBytes, cudaStream_t) {
  MPK_FALLIBLE;
  const bool shape = grid.x == kModel.blocks && block.x == kModel.threads;
  if (kernel != reinterpret_cast<const void*>(mpk_decode)) return cudaErrorInvalidDeviceFunction;
  if (!shape || sharedBytes != kModel.sharedBytes) return cudaErrorInvalidConfiguration;
  fakeGpu.params = *static_cast<Params*>(args[0]);
  for (u64 i = 0; i < kModel.eventBytes; i++) fakeGpu.dirty |= fakeGpu.params.events[i] != 0;
  for (u64 i = 0; i < kModel.stepBytes; i++) fakeGpu.dirty |= fakeGpu.params.steps[i] != 0;
  const u8* copies = fakeGpu.params.scratch + kModel.flagOffset;
  for (u64 i = 0; i < kModel.flagBytes; i++) fakeGpu.dirty |= copies[i] != 0xff;
  ended = false;
  running = std::thread([params = fakeGpu.params] {
    decode(params);
    ended = true;
  });
  return cudaSuccess;
}
}
