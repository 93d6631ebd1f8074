// What the launcher needs of the CUDA runtime, each thing freed by its owner's destructor.
#ifndef MPK_DEVICE_HPP
#define MPK_DEVICE_HPP

#include <cuda_runtime_api.h>

#include <cstring>

#include "mpk_json.hpp"

namespace mpk {

inline std::string mebibytes(uint64_t bytes) {
  const uint64_t tenths = (bytes * 10 + (1u << 20) - 1) >> 20;  // rounded up
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

// Throws Failure where a CUDA call failed; `what` says what it was for.
inline void check(cudaError_t result, const std::string& what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // so that the program's next check does not see this error again
  mpk_code code = MPK_ERROR_CUDA;
  if (result == cudaErrorMemoryAllocation) code = MPK_ERROR_MEMORY;
  if (result == cudaErrorNoDevice || result == cudaErrorInsufficientDriver ||
      result == cudaErrorNoKernelImageForDevice) {
    code = MPK_ERROR_ENVIRONMENT;
  }
  throw Failure{code, what + ": " + cudaGetErrorString(result) + " (" +
                          cudaGetErrorName(result) + ")"};
}

// Makes a device current until the end of the scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    check(cudaGetDevice(&before_), "asking for the current GPU");
    check(cudaSetDevice(device), "choosing the GPU");
  }
  ~DeviceScope() { cudaSetDevice(before_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
};

// A handle or allocation with one owner. `Free` is the CUDA call that ends it.
template <class Handle, cudaError_t (*Free)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) Free(handle_);
  }
  Handle get() const { return handle_; }
  // Nobody frees it any more.
  void abandon() { handle_ = nullptr; }

 private:
  Handle handle_ = nullptr;
};

typedef Owned<cudaStream_t, cudaStreamDestroy> Stream;
typedef Owned<cudaEvent_t, cudaEventDestroy> Event;
typedef Owned<void*, cudaFree> DeviceMemory;
typedef Owned<void*, cudaFreeHost> PinnedMemory;

inline Stream makeStream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return Stream(stream);
}

inline Event makeEvent() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "making an event");
  return Event(event);
}

// Nothing for 0 bytes.
inline DeviceMemory allocate(uint64_t bytes, const char* what) {
  void* at = nullptr;
  if (bytes > 0) {
    check(cudaMalloc(&at, bytes), "allocating " + mebibytes(bytes) + " of GPU memory for " + what);
  }
  return DeviceMemory(at);
}

// Host memory that the GPU reads and writes where it lies.
class MappedMemory {
 public:
  MappedMemory() = default;
  MappedMemory(uint64_t bytes, const char* what) {
    const std::string doing = "allocating " + mebibytes(bytes) + " of pinned memory for " + what;
    void* at = nullptr;
    check(cudaHostAlloc(&at, bytes, cudaHostAllocMapped | cudaHostAllocPortable), doing);
    host_ = PinnedMemory(at);
    std::memset(at, 0, bytes);
    check(cudaHostGetDevicePointer(&device_, at, 0), doing);
  }
  template <class T> T* host() const { return static_cast<T*>(host_.get()); }
  template <class T> T* device() const { return static_cast<T*>(device_); }

 private:
  PinnedMemory host_;
  void* device_ = nullptr;
};

// Words that the GPU writes while the host reads, or the other way round.
inline uint32_t loadAcquire(const uint32_t* word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
inline void storeRelease(uint32_t* word, uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

}  // namespace mpk

#endif
