// Clocks that an instruction of straight-line code takes by the code's size, when it is run again and again:
// what an SM keeps of its text next to it, and near. Needs a GPU; prints a table of 1, 4, 8 and 12 warps an SM.
//
//     nvcc -O3 -arch=sm_90a -o /tmp/text bench/text.cu && /tmp/text
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <cuda_runtime.h>

constexpr int kInstructionBytes = 16, kLoops = 42, kWarmUp = 2;

#define MULTIPLY_ADD(a) asm volatile("fma.rn.f32 %0, %0, %1, %1;" : "+f"(a) : "f"(k));

// `kCount` multiply-adds in four chains, kLoops times; those behind the first kWarmUp are timed.
template <int kCount> __global__ void code(float k, long long* clocks, float* sink) {
  float a = k, b = k + 1, c = k + 2, d = k + 3;
  long long since = 0;
  for (int i = 0; i < kLoops; i++) {
    if (i == kWarmUp) since = clock64();
#pragma unroll
    for (int j = 0; j < kCount / 4; j++) {
      MULTIPLY_ADD(a) MULTIPLY_ADD(b) MULTIPLY_ADD(c) MULTIPLY_ADD(d)
    }
  }
  if (threadIdx.x == 0) clocks[blockIdx.x] = clock64() - since;
  if (a + b + c + d == 1234.5f) *sink = a;
}

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "text: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

struct Machine {
  int sms;
  long long* clocks;
  float* sink;
};

template <int kBytes> void time_size(const Machine& on) {
  constexpr int kCount = kBytes / kInstructionBytes;
  std::printf("%4d KB", kBytes / 1024);
  for (int warps : {1, 4, 8, 12}) {
    code<kCount><<<on.sms, 32 * warps>>>(0.5f, on.clocks, on.sink);
    check(cudaGetLastError());
    std::vector<long long> clocks(on.sms);
    check(cudaMemcpy(clocks.data(), on.clocks, 8 * on.sms, cudaMemcpyDeviceToHost));
    double sum = 0;
    for (long long c : clocks) sum += static_cast<double>(c);
    std::printf(" %6.3f", sum / on.sms / (kLoops - kWarmUp) / kCount);
  }
  std::printf("\n");
}

template <int... kKilobytes> void time_all(const Machine& on) {
  (time_size<1024 * kKilobytes>(on), ...);
}

int main() {
  Machine on = {};
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  on.sms = properties.multiProcessorCount;
  check(cudaMalloc(&on.clocks, 8 * on.sms));
  check(cudaMalloc(&on.sink, 4));
  std::printf("%s, clocks an instruction with 1, 4, 8, 12 warps an SM\n", properties.name);
  time_all<4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 256>(on);
}
