// A CUDA driver of host memory, behind the real C ABI. Copies happen at once; the decode kernel is
// a thread that follows the kernel's protocol, so that streaming, stopping and failing can be
// tested without a GPU. The pack kernel writes a checksum of what it was given.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
#include "protocol.h"

namespace {

enum Mode { kNormal, kWatchdog, kFault, kBadToken };
enum { kSuccess = 0, kInvalid = 1, kOutOfMemory = 2, kNotReady = 600, kIllegalAddress = 700 };

const u64 kTotalBytes = 1ull << 30;
std::map<void*, size_t> live;
std::atomic<int> launched{0}, finished{0}, mode{kNormal};
std::atomic<bool> failed{false};
std::thread running;
int decodeHandle, packHandle;

u64 liveBytes() {
  u64 sum = 0;
  for (auto& entry : live) sum += entry.second;
  return sum;
}

void* take(size_t bytes) {
  if (bytes == 0 || liveBytes() + bytes > kTotalBytes) return nullptr;
  void* memory = std::malloc(bytes);
  std::memset(memory, 0xee, bytes);
  live[memory] = bytes;
  return memory;
}

int give(void* memory) {
  if (live.erase(memory) == 0) return kInvalid;
  std::free(memory);
  return kSuccess;
}

u32 sum(const u8* bytes, u64 count) {
  u32 total = 0;
  for (u64 i = 0; i < count; i++) total = total * 31 + bytes[i];
  return total;
}

void store(u8* control, int word, u32 value) {
  __atomic_store_n((u32*)control + word, value, __ATOMIC_RELEASE);
}

// Token i is the sum of resident weights, packed image and prompt, plus i, in the vocabulary.
void decode(Params p) {
  u32 base = sum(p.resident, kResidentBytes) + sum(p.stream, kStreamBytes);
  base += sum(p.prompt, 4ull * p.promptCount);
  u32 promptSteps = (p.promptCount + p.promptChunk - 1) / p.promptChunk, status = 1, made = 0;
  for (; made < p.maxNew && status == 1; made++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (__atomic_load_n((u32*)p.control + kControlStop, __ATOMIC_ACQUIRE) != 0) {
      status = 3;
      break;
    }
    u32 step = promptSteps - 1 + made;
    i32 token = (i32)((base + made) % kVocab);
    ((i32*)p.tokens)[made] = token;
    if (step < p.stampCount) ((u64*)p.stamps)[step] = 1000 + step;
    for (u32 i = 0; step - p.profileFirst < p.profileSteps && i < kProfileStepWords; i++) {
      ((u64*)p.profile)[(step - p.profileFirst) * kProfileStepWords + i] = 10000ull * step + i + 1;
    }
    for (u32 i = 0; step < p.logitsSteps && i < kVocab; i++) {
      ((float*)p.logitsLog)[step * kVocab + i] = (float)step + (float)i / 1024;
    }
    for (u32 e = 0; e < p.eosCount; e++) status = p.eos[e] == token ? 2 : status;
    store(p.control, kControlProduced, made + 1);
    if (mode == kWatchdog && made == 2) {
      const u32 report[] = {1, 17, 5, 0, 9, 264, 263, 4};
      std::memcpy((u32*)p.control + kControlReportKind, report, sizeof report);
      status = 5;
    }
    if (mode == kBadToken && made == 2) status = kStatusBadToken;
    if (mode == kFault && made == 2) failed = true, status = 0;
  }
  store(p.control, kControlSteps, promptSteps - 1 + made);
  store(p.control, kControlStatus, status);
  finished++;
}

int launch(void* kernel, unsigned blocks, void** args) {
  if (kernel == &decodeHandle) {
    if (running.joinable()) running.join();
    launched++;
    running = std::thread(decode, *(Params*)args[0]);
    return kSuccess;
  }
  if (kernel != &packHandle) return kInvalid;
  u8* dst = *(u8**)args[0];
  const u32* tasks = *(const u32**)args[1];
  u32 groups = *(u32*)args[10], n = *(u32*)args[11], k = *(u32*)args[12], total = 0;
  for (u32 g = 0; g < groups; g++) total += sum(*(const u8**)args[2 + g], 2ull * n * k);
  for (unsigned b = 0; b < blocks; b++) {
    *(u32*)(dst + 128ull * tasks[4 * b]) = total + tasks[4 * b + 2];
  }
  return kSuccess;
}

}  // namespace

extern "C" {

void fakeMode(int to) { mode = to; failed = false; }
u64 fakeLiveBytes() { return liveBytes(); }

int cuInit(unsigned) { return kSuccess; }
int cuDriverGetVersion(int* to) { return *to = 13000, kSuccess; }
int cuGetErrorName(int code, const char** to) {
  *to = code == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OF_THE_FAKE";
  return kSuccess;
}
int cuDeviceGetCount(int* to) { return *to = 1, kSuccess; }
int cuDeviceGet(int* to, int) { return *to = 0, kSuccess; }
int cuDeviceGetName(char* to, int size, int) {
  return std::strncpy(to, "Fake H200", size), kSuccess;
}
int cuDeviceTotalMem_v2(size_t* to, int) { return *to = kTotalBytes, kSuccess; }
int cuDeviceGetAttribute(int* to, int which, int) {
  static const std::map<int, int> known = {{16, 132}, {38, 1 << 25}, {75, 9}, {76, 0}, {95, 1},
                                           {97, 232448}};
  auto found = known.find(which);
  if (found == known.end()) return kInvalid;
  return *to = found->second, kSuccess;
}
int cuDevicePrimaryCtxRetain(void** to, int) { return *to = &live, kSuccess; }
int cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
int cuCtxSetCurrent(void* context) { return context == &live ? kSuccess : kInvalid; }
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  *free = kTotalBytes - liveBytes(), *total = kTotalBytes;
  return kSuccess;
}
int cuMemAlloc_v2(void** to, size_t bytes) {
  return (*to = take(bytes)) == nullptr ? kOutOfMemory : kSuccess;
}
int cuMemFree_v2(void* memory) { return give(memory); }
int cuMemHostAlloc(void** to, size_t bytes, unsigned flags) {
  if (flags != 3) return kInvalid;
  return (*to = take(bytes)) == nullptr ? kOutOfMemory : kSuccess;
}
int cuMemHostGetDevicePointer_v2(void** to, void* host, unsigned) { return *to = host, kSuccess; }
int cuMemFreeHost(void* memory) { return give(memory); }
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, void*) {
  return std::memcpy(to, from, bytes), kSuccess;
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, void*) {
  return std::memcpy(to, from, bytes), kSuccess;
}
int cuMemsetD8Async(void* to, unsigned char value, size_t bytes, void*) {
  return std::memset(to, value, bytes), kSuccess;
}
int cuStreamCreate(void** to, unsigned) { return *to = take(1), kSuccess; }
int cuStreamDestroy_v2(void* stream) { return give(stream); }
int cuEventCreate(void** to, unsigned) { return *(int*)(*to = take(sizeof(int))) = 0, kSuccess; }
int cuEventDestroy_v2(void* event) { return give(event); }
int cuEventRecord(void* event, void*) { return *(int*)event = launched, kSuccess; }
int cuEventQuery(void* event) {
  if (failed) return kIllegalAddress;
  return finished >= *(int*)event ? kSuccess : kNotReady;
}
int cuEventElapsedTime(float* to, void*, void*) { return *to = 2.5f, kSuccess; }
int cuModuleLoadData(void** to, const void* image) {
  if (std::memcmp(image, "CUBIN", 5) != 0) return kInvalid;
  return *to = take(1), kSuccess;
}
int cuModuleUnload(void* module) { return give(module); }
int cuModuleGetFunction(void** to, void*, const char* name) {
  const std::string wanted = name;
  *to = wanted == "mpk_decode" ? &decodeHandle : wanted == "mpk_pack" ? &packHandle : nullptr;
  return *to == nullptr ? kInvalid : kSuccess;
}
int cuFuncSetAttribute(void*, int which, int) { return which == 8 ? kSuccess : kInvalid; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* to, void*, int, size_t) {
  return *to = 1, kSuccess;
}
int cuLaunchKernel(void* kernel, unsigned x, unsigned, unsigned, unsigned, unsigned, unsigned,
                   unsigned, void*, void** args, void** extra) {
  return extra == nullptr ? launch(kernel, x, args) : kInvalid;
}
int cuLaunchCooperativeKernel(void* kernel, unsigned x, unsigned, unsigned, unsigned, unsigned,
                              unsigned, unsigned, void*, void** args) {
  return launch(kernel, x, args);
}

}  // extern "C"
