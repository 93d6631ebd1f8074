// A CUDA driver of host memory, behind the real C ABI. Copies happen at once; the decode kernel is
// a thread that follows the kernel's protocol, so that streaming, stopping and failing can be
// tested without a GPU. The pack kernel writes a checksum of what it was given.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
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

enum Mode { kNormal, kWatchdog, kFault, kBadToken, kStuck, kDeaf };
enum { kSuccess = 0, kInvalid = 1, kOutOfMemory = 2, kNotReady = 600, kIllegalAddress = 700 };

const u64 kTotalBytes = 1ull << 30;
std::atomic<int> launched{0}, finished{0}, mode{kNormal};
std::atomic<bool> failed{false};
std::thread running;
int decodeHandle, packHandle, randomHandle, probeHandle;

// What was given out and not given back. The context owns it all, as in CUDA.
enum Kind { kMemory, kStream, kEvent, kModule };
struct Held {
  Kind kind;
  size_t bytes;
};
std::map<void*, Held> live;
u64 contexts, freedBusy;

// One call made to fail, and how often each was made.
std::map<std::string, int> calls;
std::string faultCall;
int faultNth, faultCode;
bool faultSticky, faultHit;

int fault(const std::string& name) {
  const bool here = ++calls[name] == faultNth && name == faultCall;
  const bool gives = name.find("Free") != name.npos || name.find("Destroy") != name.npos ||
                     name.find("Unload") != name.npos || name.find("Release") != name.npos;
  const bool again = faultHit && faultSticky && !gives;
  faultHit = faultHit || here;
  return here || again ? faultCode : 0;
}
#define CALL \
  if (int code = fault(__func__)) return code

u64 liveBytes() {
  u64 sum = 0;
  for (auto& entry : live) sum += entry.second.kind == kMemory ? entry.second.bytes : 0;
  return sum;
}
u64 count(Kind kind) {
  u64 sum = 0;
  for (auto& entry : live) sum += entry.second.kind == kind;
  return sum;
}

void* take(Kind kind, size_t bytes) {
  if (contexts == 0 || bytes == 0 || liveBytes() + bytes > kTotalBytes) return nullptr;
  void* memory = std::malloc(bytes);
  std::memset(memory, 0xee, bytes);
  live[memory] = Held{kind, bytes};
  return memory;
}

bool isBusy() { return launched != finished; }

int give(Kind kind, void* memory) {
  auto found = live.find(memory);
  if (found == live.end() || found->second.kind != kind) return kInvalid;
  // Freeing memory waits for the kernel, as in CUDA.
  if (kind == kMemory && isBusy()) {
    freedBusy++;
    running.join();
  }
  live.erase(found);
  std::free(memory);
  return kSuccess;
}

void destroyContext() {
  if (running.joinable()) running.join();
  for (auto& entry : live) std::free(entry.first);
  live.clear();
  failed = false;
  if (faultSticky) faultCode = 0, faultSticky = false;
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
    // Clocks and times of all SMs grow alike, by 10000 a step and by 1 from word to word.
    for (u32 i = 0; step - p.profileFirst < p.profileSteps && i < kProfileStepWords; i++) {
      u32* words = (u32*)p.profile + (step - p.profileFirst) * kProfileStepWords;
      const u32 word = i % kProfileWords;
      const bool high = i / kProfileWords % 2 == 0 && (word == kArrivedNanos + 1 || word == kDoneNanos + 1);
      words[i] = high ? 0 : 10000 * step + 1 + word;
    }
    for (u32 i = 0; step < p.logitsSteps && i < kVocab; i++) {
      ((float*)p.logitsLog)[step * kVocab + i] = (float)step + (float)i / 1024;
    }
    for (u32 e = 0; e < p.eosCount; e++) status = p.eos[e] == token ? 2 : status;
    store(p.control, kControlProduced, made + 1);
    if ((mode == kWatchdog || mode == kDeaf) && made == 2) {
      const u32 report[] = {1, 17, 5, 0, 9, 264, 263, 4};
      std::memcpy((u32*)p.control + kControlReportKind, report, sizeof report);
      status = 5;
    }
    if (mode == kBadToken && made == 2) status = kStatusBadToken;
    // Never ends, whatever it is told, before the mode changes.
    if ((mode == kStuck || mode == kDeaf) && made == 2) {
      store(p.control, kControlSteps, promptSteps + made);
      if (mode == kDeaf) store(p.control, kControlStatus, status);
      while (mode == kStuck || mode == kDeaf) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
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
    // The copies of flagged values are cleared before every launch; the kernel leaves them otherwise.
    u8* copies = ((Params*)args[0])->scratch + kFlagOffset;
    for (u32 i = 0; i < kFlagBytes; i++) {
      if (copies[i] != 0xff) return kInvalid;
    }
    std::memset(copies, 0x55, kFlagBytes);
    running = std::thread(decode, *(Params*)args[0]);
    return kSuccess;
  }
  if (kernel == &randomHandle) {
    u16* out = *(u16**)args[0];
    const u64 count = *(u64*)args[1];
    const u32 word = *(u32*)args[2] ^ *(u32*)args[3] ^ *(u32*)args[4];
    for (u64 i = 0; i < count; i++) out[i] = (u16)(word + i);
    return *(u32*)args[7] == blocks ? kSuccess : kInvalid;
  }
  if (kernel == &probeHandle) return kSuccess;
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
void fakeHeld(u64* out) {
  const u64 held[] = {contexts,      count(kMemory), liveBytes(), count(kStream),
                      count(kEvent), count(kModule), freedBusy};
  std::memcpy(out, held, sizeof held);
}
void fakePlant(const char* call, int nth, int code, int sticky) {
  calls.clear();
  freedBusy = 0;
  faultCall = call, faultNth = nth, faultCode = code, faultSticky = sticky, faultHit = false;
}
int fakeHit() { return faultHit; }
void fakeCalls(char* out, int size) {
  std::string text;
  for (auto& one : calls) text += one.first + " " + std::to_string(one.second) + "\n";
  std::snprintf(out, size, "%s", text.c_str());
}

int cuInit(unsigned) {
  CALL;
  return kSuccess;
}
int cuDriverGetVersion(int* to) {
  CALL;
  return *to = 13000, kSuccess;
}
int cuGetErrorName(int code, const char** to) {
  static std::map<int, std::string> names;
  *to = (names[code] = "CUDA_ERROR_" + std::to_string(code)).c_str();
  return kSuccess;
}
int cuGetErrorString(int, const char** to) { return *to = "described by the fake", kSuccess; }
int cuDeviceGetCount(int* to) {
  CALL;
  return *to = 1, kSuccess;
}
int cuDeviceGet(int* to, int) {
  CALL;
  return *to = 0, kSuccess;
}
int cuDeviceGetName(char* to, int size, int) {
  CALL;
  return std::strncpy(to, "Fake H200", size), kSuccess;
}
int cuDeviceTotalMem_v2(size_t* to, int) {
  CALL;
  return *to = kTotalBytes, kSuccess;
}
int cuDeviceGetAttribute(int* to, int which, int) {
  CALL;
  static const std::map<int, int> known = {{16, 132}, {38, 1 << 25}, {75, 9}, {76, 0}, {95, 1},
                                           {97, 232448}};
  auto found = known.find(which);
  if (found == known.end()) return kInvalid;
  return *to = found->second, kSuccess;
}
int cuDevicePrimaryCtxRetain(void** to, int) {
  CALL;
  return *to = &live, contexts++, kSuccess;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  CALL;
  if (contexts == 0) return kInvalid;
  if (--contexts == 0) destroyContext();
  return kSuccess;
}
int cuCtxSetCurrent(void* context) {
  CALL;
  return context == &live ? kSuccess : kInvalid;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  CALL;
  *free = kTotalBytes - liveBytes(), *total = kTotalBytes;
  return kSuccess;
}
int cuMemAlloc_v2(void** to, size_t bytes) {
  CALL;
  return (*to = take(kMemory, bytes)) == nullptr ? kOutOfMemory : kSuccess;
}
int cuMemFree_v2(void* memory) {
  CALL;
  return give(kMemory, memory);
}
int cuMemHostAlloc(void** to, size_t bytes, unsigned flags) {
  CALL;
  if (flags != 3) return kInvalid;
  return (*to = take(kMemory, bytes)) == nullptr ? kOutOfMemory : kSuccess;
}
int cuMemHostGetDevicePointer_v2(void** to, void* host, unsigned) {
  CALL;
  return *to = host, kSuccess;
}
int cuMemFreeHost(void* memory) {
  CALL;
  return give(kMemory, memory);
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, void*) {
  CALL;
  return std::memcpy(to, from, bytes), kSuccess;
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, void*) {
  CALL;
  return std::memcpy(to, from, bytes), kSuccess;
}
int cuMemsetD8Async(void* to, unsigned char value, size_t bytes, void*) {
  CALL;
  return std::memset(to, value, bytes), kSuccess;
}
int cuStreamCreate(void** to, unsigned) {
  CALL;
  return *to = take(kStream, 1), kSuccess;
}
int cuStreamDestroy_v2(void* stream) {
  CALL;
  return give(kStream, stream);
}
int cuEventCreate(void** to, unsigned) {
  CALL;
  return *(int*)(*to = take(kEvent, sizeof(int))) = 0, kSuccess;
}
int cuEventDestroy_v2(void* event) {
  CALL;
  return give(kEvent, event);
}
int cuEventRecord(void* event, void*) {
  CALL;
  return *(int*)event = launched, kSuccess;
}
int cuEventQuery(void* event) {
  CALL;
  if (failed) return kIllegalAddress;
  return finished >= *(int*)event ? kSuccess : kNotReady;
}
int cuStreamQuery(void*) {
  CALL;
  if (failed) return kIllegalAddress;
  return isBusy() ? kNotReady : kSuccess;
}
int cuEventElapsedTime(float* to, void*, void*) {
  CALL;
  return *to = 2.5f, kSuccess;
}
int cuModuleLoadData(void** to, const void* image) {
  CALL;
  if (std::memcmp(image, "CUBIN", 5) != 0) return kInvalid;
  return *to = take(kModule, 1), kSuccess;
}
int cuModuleUnload(void* module) {
  CALL;
  return give(kModule, module);
}
int cuModuleGetFunction(void** to, void*, const char* name) {
  CALL;
  const std::string wanted = name;
  static const std::map<std::string, void*> known = {{"mpk_decode", &decodeHandle},
                                                     {"mpk_pack", &packHandle},
                                                     {"mpk_random", &randomHandle},
                                                     {"mpk_read_probe", &probeHandle}};
  auto found = known.find(wanted);
  if (found == known.end()) return kInvalid;
  return *to = found->second, kSuccess;
}
int cuFuncSetAttribute(void*, int which, int) {
  CALL;
  return which == 8 ? kSuccess : kInvalid;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* to, void*, int, size_t) {
  CALL;
  return *to = 1, kSuccess;
}
int cuLaunchKernel(void* kernel, unsigned x, unsigned, unsigned, unsigned, unsigned, unsigned,
                   unsigned, void*, void** args, void** extra) {
  CALL;
  return extra == nullptr ? launch(kernel, x, args) : kInvalid;
}
int cuLaunchCooperativeKernel(void* kernel, unsigned x, unsigned, unsigned, unsigned, unsigned,
                              unsigned, unsigned, void*, void** args) {
  CALL;
  return launch(kernel, x, args);
}

}  // extern "C"
