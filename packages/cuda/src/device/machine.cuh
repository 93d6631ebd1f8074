// The only file that knows the machine: every PTX instruction and CUDA built-in has a plain name
// here. All other device code is C++ over these names. The emulator compiles the same text for a
// CPU: with MPK_HOST, a target such as 900, it brings these names itself (emulator/machine_host.hpp).
#if defined(MPK_HOST)
#define MPK_ARCH MPK_HOST
#else
#define MPK_DEVICE __device__ __forceinline__
#define MPK_TABLE __device__ const
#define MPK_NOINLINE static __device__ __noinline__
#define MPK_KERNEL extern "C" __global__
#define MPK_SHARED_MEMORY(name) extern __shared__ __align__(1024) u8 name[]
#define MPK_CONSTANT static __device__ const
#if defined(__CUDA_ARCH__)
#define MPK_ARCH __CUDA_ARCH__
#else
#define MPK_ARCH 900
#endif
#endif

#if MPK_ARCH < 900
#define MPK_BULK_COPY 0
#else
#define MPK_BULK_COPY 1
#endif

// Lanes of the producer warp that copy: bulk copies need one thread.
#define MPK_PRODUCER_LANES (MPK_BULK_COPY ? 1u : 32u)
// Arrivals that the barrier of a filled stage counts: one with bulk copies, else one a lane.
#define MPK_FULL_ARRIVALS (MPK_BULK_COPY ? 1u : 32u)

#if !defined(MPK_HOST)
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
struct alignas(16) Vec4 { u32 x, y, z, w; };
struct alignas(8) Vec2 { u32 x, y; };

MPK_DEVICE u32 thread_index() { return threadIdx.x; }
MPK_DEVICE u32 block_index() { return blockIdx.x; }
MPK_DEVICE u32 block_threads() { return blockDim.x; }

// Four warps in a row call: each thread has at most (at least) this many registers from here on.
template <u32 kCount> MPK_DEVICE void give_registers() {
  if constexpr (kCount != 0) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <u32 kCount> MPK_DEVICE void take_registers() {
  if constexpr (kCount != 0) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

// Makes a value opaque to the compiler.
MPK_DEVICE void forget(u32& v) { asm volatile("" : "+r"(v)); }

// All warps of the block.
MPK_DEVICE void block_barrier() { __syncthreads(); }
// The first `threads` threads of the block only (hardware barrier 1).
MPK_DEVICE void group_barrier(u32 threads) {
  asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
}
MPK_DEVICE void warp_barrier() { __syncwarp(); }
// The lanes of the producer warp that copy.
MPK_DEVICE void producer_barrier() {
#if !MPK_BULK_COPY
  __syncwarp();
#endif
}
MPK_DEVICE bool producer_all(bool v) {
#if MPK_BULK_COPY
  return v;
#else
  return __all_sync(0xffffffffu, v) != 0;
#endif
}
template <class V> MPK_DEVICE V shuffle_xor(V v, int mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}

MPK_DEVICE i32 warp_max_i32(i32 v) { return __reduce_max_sync(0xffffffffu, v); }

MPK_DEVICE u64 now_nanos() {
  u64 t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

//profile: // This SM's own clock, which is quicker to read than that of all SMs.
//profile: MPK_DEVICE u64 now_clocks() {
//profile:   u64 t;
//profile:   asm volatile("mov.u64 %0, %clock64;" : "=l"(t));
//profile:   return t;
//profile: }

// ---- global memory -------------------------------------------------------------------------
// Data that other SMs write during the launch: cached in L2 only.
MPK_DEVICE float load_f32(const float* p) { return __ldcg(p); }
MPK_DEVICE u32 load_u32(const u32* p) { return __ldcg(p); }
MPK_DEVICE i32 load_i32(const i32* p) { return __ldcg(p); }
MPK_DEVICE u16 load_u16(const u16* p) { return __ldcg(p); }
MPK_DEVICE Vec4 load_vec4(const void* p) {
  uint4 v = __ldcg(reinterpret_cast<const uint4*>(p));
  return Vec4{v.x, v.y, v.z, v.w};
}
// From there or from shared memory.
MPK_DEVICE Vec4 load_any_vec4(const void* p) {
  Vec4 v;
  asm volatile("ld.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
  return v;
}
MPK_DEVICE Vec2 load_vec2(const void* p) {
  uint2 v = __ldcg(reinterpret_cast<const uint2*>(p));
  return Vec2{v.x, v.y};
}
// Data that nobody writes during the launch.
MPK_DEVICE u16 load_const_u16(const u16* p) { return __ldg(p); }
MPK_DEVICE u32 load_const_u32(const u32* p) { return __ldg(p); }
// The same, asked for here and not where it is used.
MPK_DEVICE u32 load_const_early(const u32* p) {
  u32 v;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
MPK_DEVICE Vec4 load_const_vec4(const void* p) {
  uint4 v = __ldg(reinterpret_cast<const uint4*>(p));
  return Vec4{v.x, v.y, v.z, v.w};
}
MPK_DEVICE Vec2 load_const_vec2(const void* p) {
  uint2 v = __ldg(reinterpret_cast<const uint2*>(p));
  return Vec2{v.x, v.y};
}
MPK_DEVICE void store_vec4(void* p, Vec4 v) { *static_cast<uint4*>(p) = {v.x, v.y, v.z, v.w}; }
// The same to global memory, and as one store: the compiler may make four of that.
MPK_DEVICE void store_whole_vec4(void* p, Vec4 v) {
  __stcg(static_cast<uint4*>(p), make_uint4(v.x, v.y, v.z, v.w));
}
MPK_DEVICE void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

MPK_DEVICE u32 load_acquire_gpu(const u32* p) {
  u32 v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
MPK_DEVICE u32 load_relaxed_gpu(const u32* p) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
// Four words, each an access of its own.
MPK_DEVICE Vec4 load_relaxed_vec4_gpu(const void* p) {
  Vec4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
// Between two looks at words that have not come: sleeping gained nothing. And so many looks before one at
// whether to give up.
MPK_DEVICE void poll_pause() {}
constexpr u32 kPatience = 64;
MPK_DEVICE void add_release_gpu(u32* p, u32 v) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
MPK_DEVICE u32 compare_swap_gpu(u32* p, u32 old, u32 value) { return atomicCAS(p, old, value); }
MPK_DEVICE u32 compare_swap_shared(u32* p, u32 old, u32 value) { return atomicCAS(p, old, value); }
MPK_DEVICE void maximum_gpu(u32* p, u32 v) { atomicMax(p, v); }
MPK_DEVICE void store_relaxed_gpu(u32* p, u32 v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
// Words shared with the host.
MPK_DEVICE u32 load_relaxed_system(const u32* p) {
  u32 v;
  asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
MPK_DEVICE void store_release_system(u32* p, u32 v) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// ---- shared memory: mbarriers, copies ----------------------------------------------------------
// Where something lies there: to go from one address to the next takes less than to convert a pointer.
typedef u32 SharedAt;
MPK_DEVICE SharedAt shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }
MPK_DEVICE void mbarrier_init(u64* bar, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals)
               : "memory");
}
MPK_DEVICE void mbarrier_init_fence() {
#if MPK_BULK_COPY
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Between ordinary accesses, this thread's and those that it knows of, and bulk copies that come after:
// of all memory, which takes as long as stores take to arrive, or of shared memory.
MPK_DEVICE void fence_async() {
#if MPK_BULK_COPY
  asm volatile("fence.proxy.async;" ::: "memory");
#endif
}
MPK_DEVICE void fence_async_shared() {
#if MPK_BULK_COPY
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
MPK_DEVICE void mbarrier_arrive(SharedAt bar) {
  asm volatile("{ .reg .b64 t; mbarrier.arrive.shared::cta.b64 t, [%0]; }" ::"r"(bar) : "memory");
}
MPK_DEVICE void mbarrier_arrive(u64* bar) { mbarrier_arrive(shared_address(bar)); }
// Before sm_90 a test is several instructions, and of a parity that is no constant ptxas 13 keeps a register
// for each place in the kernel that tests, from its first instruction to its last.
MPK_DEVICE bool mbarrier_test(SharedAt bar, u32 parity) {
  u32 done;
  asm volatile("{ .reg .pred p, odd;"
#if MPK_BULK_COPY
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;"
#else
      "setp.ne.u32 odd, %2, 0; @odd mbarrier.test_wait.parity.shared::cta.b64 p, [%1], 1;"
      "@!odd mbarrier.test_wait.parity.shared::cta.b64 p, [%1], 0;"
#endif
      " selp.u32 %0, 1, 0, p; }"
      : "=r"(done) : "r"(bar), "r"(parity) : "memory");
  return done != 0;
}
MPK_DEVICE bool mbarrier_test(u64* bar, u32 parity) { return mbarrier_test(shared_address(bar), parity); }
//profile: // The same, but never suspended.
//profile: MPK_DEVICE bool mbarrier_look(SharedAt bar, u32 parity) {
//profile:   if (!MPK_BULK_COPY) return mbarrier_test(bar, parity);
//profile:   u32 done;
//profile:   asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; "
//profile:                "selp.u32 %0, 1, 0, p; }"
//profile:                : "=r"(done) : "r"(bar), "r"(parity) : "memory");
//profile:   return done != 0;
//profile: }

// 16 bytes of a stage of the ring.
MPK_DEVICE Vec4 load_staged(const void* p) { return *reinterpret_cast<const Vec4*>(p); }
// Returns when the loads that `word` was made of have arrived. An H200 counts an arrival at a barrier
// before loads from shared memory that are earlier in the program but have not been served yet: who frees
// what it has just read must have it first.
MPK_DEVICE void await_loads(u32 word) {
  asm volatile("{ .reg .pred p; setp.eq.u32 p, %0, 0x9e3779b9; @p nanosleep.u32 1; }" ::"r"(word)
               : "memory");
}
// Where only products took what was loaded: the compiler may put the arrival before the last (see ADR 3).
MPK_DEVICE void trust_loads() {}

// The whole warp calls: copies `bytes` (a multiple of 512) to shared memory, completing on `bar`.
MPK_DEVICE void copy_to_stage(SharedAt dst, const u8* src, u32 bytes, SharedAt bar, u32 lane) {
#if MPK_BULK_COPY
  if (lane == 0) {
    u64 policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
                 : "memory");
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1], %2, [%3], %4;" ::"r"(dst),
        "l"(src), "r"(bytes), "r"(bar), "l"(policy)
        : "memory");
  }
#else
  u32 to = dst + lane * 16;
  const u8* from = src + lane * 16;
  for (u32 i = 0; i < bytes; i += 512) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + i), "l"(from + i)
                 : "memory");
  }
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
#endif
}

// The same of what may stay in L2, unlike weights; without bytes, nothing but the arrival.
MPK_DEVICE void copy_past_to_stage(SharedAt dst, const u8* src, u32 bytes, SharedAt bar, u32 lane) {
#if MPK_BULK_COPY
  if (lane != 0) return;
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
  if (bytes == 0) return;
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
      "l"(src), "r"(bytes), "r"(bar)
      : "memory");
#else
  for (u32 at = lane * 16; at < bytes; at += 512) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst + at), "l"(src + at) : "memory");
  }
  // Beside its copies' arrival the lane's own: it has read the step before what comes after the chunk.
  asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
  mbarrier_arrive(bar);
#endif
}

// This thread's own copies of 8 or 16 bytes that nobody writes during the launch; it sees them once it
// has waited for all of them.
template <u32 kBytes> MPK_DEVICE void copy_async(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(to)), "l"(from),
               "n"(kBytes) : "memory");
}
// This thread's own copy of 16 bytes that other SMs wrote during the launch, or 16 zeros, to shared memory.
MPK_DEVICE void copy_piece(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16u : 0u) : "memory");
}
// Its copies so far are a group; and it sees those of all groups but the last kLeft.
MPK_DEVICE void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <u32 kLeft> MPK_DEVICE void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
MPK_DEVICE void await_async_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// ---- arithmetic ----------------------------------------------------------------------------
MPK_DEVICE float bits_to_f32(u32 v) { return __uint_as_float(v); }
MPK_DEVICE u32 f32_to_bits(float v) { return __float_as_uint(v); }
MPK_DEVICE float bf16_to_f32(u16 v) { return __uint_as_float(static_cast<u32>(v) << 16); }
// Two bf16 in a word, the one at the lower address in the low half.
MPK_DEVICE float bf16_low(u32 v) { return __uint_as_float(v << 16); }
MPK_DEVICE float bf16_high(u32 v) { return __uint_as_float(v & 0xffff0000u); }
MPK_DEVICE u32 pack_bf16(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
// The low halves of two words in one, that of `a` at the lower address; and the high halves.
MPK_DEVICE u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
MPK_DEVICE u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }
MPK_DEVICE u16 f32_to_bf16(float v) { return static_cast<u16>(pack_bf16(v, 0.0f) & 0xffffu); }
MPK_DEVICE float round_bf16(float v) { return bf16_to_f32(f32_to_bf16(v)); }
MPK_DEVICE u32 multiply_high(u32 a, u32 b) { return __umulhi(a, b); }
MPK_DEVICE u64 multiply_high(u64 a, u64 b) { return __umul64hi(a, b); }
// Rounded to nearest, never fused with a neighbour.
MPK_DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
MPK_DEVICE float multiply_rn(float a, float b) { return __fmul_rn(a, b); }
MPK_DEVICE float divide_rn(float a, float b) { return __fdiv_rn(a, b); }

// One instruction each, right to about one unit in the last place: what IEEE's versions and expf add
// to it lies on the way of a step of one token.
MPK_DEVICE float exp2_fast(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
MPK_DEVICE float reciprocal_fast(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

MPK_DEVICE float m_exp(float x) { return expf(x); }
MPK_DEVICE float m_log(float x) { return logf(x); }
MPK_DEVICE float m_sqrt(float x) { return sqrtf(x); }
MPK_DEVICE float m_rsqrt(float x) {
  float r;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
MPK_DEVICE float m_tanh(float x) { return tanhf(x); }
MPK_DEVICE float m_sigmoid(float x) {
  return reciprocal_fast(1.0f + exp2_fast(x * -1.4426950408889634f));
}
MPK_DEVICE float m_erf(float x) { return erff(x); }
MPK_DEVICE float m_sin(float x) { return sinf(x); }
MPK_DEVICE float m_cos(float x) { return cosf(x); }
MPK_DEVICE void m_sincos(float x, float& sine, float& cosine) { sincosf(x, &sine, &cosine); }
MPK_DEVICE float m_floor(float x) { return floorf(x); }
MPK_DEVICE float m_ceil(float x) { return ceilf(x); }
MPK_DEVICE float m_abs(float x) { return fabsf(x); }
MPK_DEVICE float m_min(float x, float y) { return fminf(x, y); }
MPK_DEVICE float m_max(float x, float y) { return fmaxf(x, y); }
MPK_DEVICE float m_pow(float x, float y) { return powf(x, y); }

// An 8 x 8 matrix of 16-bit words, transposed: lane 4 g + q holds columns 2 q and 2 q + 1 of row g.
MPK_DEVICE u32 transpose_8x8(u32 v) {
  u32 r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
}

// d += a * b for one 16 x 8 x 16 bf16 product: a rows 16 x k 16, b k 16 x columns 8.
MPK_DEVICE void mma_16x8x16(float (&d)[4], Vec4 a, u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}
#endif
