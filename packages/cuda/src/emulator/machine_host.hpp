// The names of machine.cuh on a CPU, force-included before the emitted source: what one GPU thread
// does alone is done here, what takes several goes to the emulator.
#ifndef MPK_MACHINE_HOST_HPP
#define MPK_MACHINE_HOST_HPP

#include "emulator.hpp"

#define MPK_DEVICE inline
#define MPK_TABLE const
#define MPK_NOINLINE static __attribute__((noinline))
#define MPK_KERNEL extern "C"
#define MPK_SHARED_MEMORY(name) u8* const name = emulator::here.shared
#define MPK_CONSTANT static const
#define __launch_bounds__(...)
#define __grid_constant__

// The target's paths, as machine.cuh chooses them.
#define MPK_HOST_BULK (MPK_HOST >= 900)

struct alignas(16) Vec4 { u32 x, y, z, w; };
struct alignas(8) Vec2 { u32 x, y; };

inline u32 thread_index() { return emulator::here.thread; }
inline u32 block_index() { return emulator::here.block; }
inline u32 block_threads() { return emulator::here.threads; }
inline void forget(u32&) {}

template <u32> inline void give_registers() {}
template <u32> inline void take_registers() {}
inline void block_barrier() { emulator::block_barrier(); }
inline void group_barrier(u32 threads) { emulator::group_barrier(threads); }
inline void warp_barrier() { emulator::warp_barrier(); }
inline void producer_barrier() {
  if (!MPK_HOST_BULK) emulator::warp_barrier();
}
inline bool producer_all(bool v) { return MPK_HOST_BULK ? v : emulator::warp_all(v); }
template <class V> inline V shuffle_xor(V v, int mask) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8, "lanes exchange 32 or 64 bits");
  u64 word = 0;
  __builtin_memcpy(&word, &v, sizeof(V));
  word = emulator::warp_shuffle(word, static_cast<u32>(mask));
  __builtin_memcpy(&v, &word, sizeof(V));
  return v;
}
inline i32 warp_max_i32(i32 v) {
  for (int mask = 16; mask > 0; mask >>= 1) {
    const i32 other = shuffle_xor(v, mask);
    v = other > v ? other : v;
  }
  return v;
}
inline u64 now_nanos() { return emulator::now_nanos(); }
// Every SM's clock has a start of its own, and is no count of nanoseconds.
inline u64 now_clocks() {
  return 2 * emulator::mark_nanos() + 0xfff00000u * (emulator::here.block + 1ull);
}

// ---- global memory -------------------------------------------------------------------------
inline float load_f32(const float* p) { return *p; }
inline u32 load_u32(const u32* p) { return *p; }
inline i32 load_i32(const i32* p) { return *p; }
inline u16 load_u16(const u16* p) { return *p; }
inline Vec4 load_vec4(const void* p) { return *static_cast<const Vec4*>(p); }
inline Vec4 load_any_vec4(const void* p) { return *static_cast<const Vec4*>(p); }
inline Vec2 load_vec2(const void* p) { return *static_cast<const Vec2*>(p); }
// Read past coherence: the emulator makes sure that nobody writes there during the launch.
template <class V> inline V load_const(const void* p) {
#if defined(MPK_CHECK)
  emulator::read_constant(p, sizeof(V));
#endif
  return *static_cast<const V*>(p);
}
inline u16 load_const_u16(const u16* p) { return load_const<u16>(p); }
inline u32 load_const_early(const u32* p) { return load_const<u32>(p); }
inline u32 load_const_u32(const u32* p) { return load_const<u32>(p); }
inline Vec4 load_const_vec4(const void* p) { return load_const<Vec4>(p); }
inline Vec2 load_const_vec2(const void* p) { return load_const<Vec2>(p); }
inline void store_vec4(void* p, Vec4 v) { *static_cast<Vec4*>(p) = v; }
inline void store_whole_vec4(void* p, Vec4 v) { store_vec4(p, v); }
inline void prefetch_l2(const void*) {}

namespace emulator {
constexpr Order kRelaxed = Order::relaxed, kAcquire = Order::acquire, kRelease = Order::release;
constexpr Scope kGpu = Scope::gpu, kSystem = Scope::system;
}  // namespace emulator

inline u32 load_acquire_gpu(const u32* p) {
  return emulator::load_strong(p, emulator::kAcquire, emulator::kGpu);
}
inline u32 load_relaxed_gpu(const u32* p) {
  return emulator::load_strong(p, emulator::kRelaxed, emulator::kGpu);
}
inline Vec4 load_relaxed_vec4_gpu(const void* p) {
  const u32* word = static_cast<const u32*>(p);
  Vec4 v;
  v.x = load_relaxed_gpu(word);
  v.y = load_relaxed_gpu(word + 1);
  v.z = load_relaxed_gpu(word + 2);
  v.w = load_relaxed_gpu(word + 3);
  return v;
}
inline void poll_pause() { emulator::poll_pause(); }
constexpr u32 kPatience = 4;  // between two looks all others run
inline void add_release_gpu(u32* p, u32 v) {
  emulator::add_strong(p, v, emulator::kRelease, emulator::kGpu);
}
inline u32 compare_swap_gpu(u32* p, u32 expected, u32 value) {
  return emulator::compare_swap_strong(p, expected, value, emulator::kRelaxed, emulator::kGpu);
}
inline u32 compare_swap_shared(u32* p, u32 expected, u32 value) {
  return emulator::compare_swap_strong(p, expected, value, emulator::kRelaxed, emulator::kGpu);
}
inline void maximum_gpu(u32* p, u32 v) {
  emulator::maximum_strong(p, v, emulator::kRelaxed, emulator::kGpu);
}
inline void store_relaxed_gpu(u32* p, u32 v) {
  emulator::store_strong(p, v, emulator::kRelaxed, emulator::kGpu);
}
inline u32 load_relaxed_system(const u32* p) {
  return emulator::load_strong(p, emulator::kRelaxed, emulator::kSystem);
}
inline void store_release_system(u32* p, u32 v) {
  emulator::store_strong(p, v, emulator::kRelease, emulator::kSystem);
}

// ---- shared memory: mbarriers, copies ----------------------------------------------------------
inline void mbarrier_init(u64* bar, u32 arrivals) { emulator::mbarrier_init(bar, arrivals); }
inline void mbarrier_init_fence() {
  if (MPK_HOST_BULK) emulator::fence_async();
}
inline void fence_async() {
  if (MPK_HOST_BULK) emulator::fence_async();
}
inline void fence_async_shared() { fence_async(); }
inline void mbarrier_arrive(u64* bar) { emulator::mbarrier_arrive(bar); }
typedef u8* SharedAt;
inline SharedAt shared_address(const void* p) { return static_cast<u8*>(const_cast<void*>(p)); }
inline u64* barrier_at(SharedAt p) { return reinterpret_cast<u64*>(p); }
inline bool mbarrier_test(u64* bar, u32 parity) { return emulator::mbarrier_test(bar, parity); }
inline bool mbarrier_test(SharedAt p, u32 parity) { return mbarrier_test(barrier_at(p), parity); }
inline bool mbarrier_look(SharedAt p, u32 parity) { return mbarrier_test(p, parity); }
// Loads of stages are under way until they are waited for.
inline Vec4 load_staged(const void* p) {
#if defined(MPK_CHECK)
  Vec4 v;
  emulator::load_late(p, &v, sizeof v);
  return v;
#else
  return *static_cast<const Vec4*>(p);
#endif
}
inline void await_loads(u32) {
#if defined(MPK_CHECK)
  emulator::await_loads();
#endif
}
inline void trust_loads() { await_loads(0); }
inline void copy_to_stage(SharedAt dst, const u8* src, u32 bytes, SharedAt at, u32 lane) {
  u64* const bar = barrier_at(at);
  if (MPK_HOST_BULK) {
    if (lane != 0) return;
    emulator::mbarrier_arrive_expect(bar, bytes);
    emulator::bulk_copy(dst, src, bytes, bar);
    return;
  }
  for (u32 i = lane * 16; i < bytes; i += 512) emulator::copy_async(dst + i, src + i);
  emulator::mbarrier_arrive_after_copies(bar);
}
inline void copy_past_to_stage(SharedAt dst, const u8* src, u32 bytes, SharedAt to, u32 lane) {
  u64* const bar = barrier_at(to);
  if (MPK_HOST_BULK) {
    if (lane != 0) return;
    emulator::mbarrier_arrive_expect(bar, bytes);
    if (bytes > 0) emulator::bulk_copy(dst, src, bytes, bar);
    return;
  }
  for (u32 at = lane * 16; at < bytes; at += 512) emulator::copy_async(dst + at, src + at);
  emulator::mbarrier_expect_arrival(bar);
  emulator::mbarrier_arrive_after_copies(bar);
  emulator::mbarrier_arrive(bar);
}

// A thread sees its own copies at the latest when it waits for them; here it does at once.
template <u32 kBytes> inline void copy_async(void* to, const void* from) {
  for (u32 i = 0; i < kBytes / 4; i++) {
    static_cast<u32*>(to)[i] = load_const_u32(static_cast<const u32*>(from) + i);
  }
}
inline void await_async_copies() {}
inline void copy_piece(void* to, const void* from, bool there) {
  emulator::copy_piece(static_cast<u8*>(to), there ? static_cast<const u8*>(from) : nullptr);
}
inline void end_copies() { emulator::end_pieces(); }
template <u32 kLeft> inline void await_copies() { emulator::await_pieces(kLeft); }

// ---- arithmetic ----------------------------------------------------------------------------
inline float bits_to_f32(u32 v) {
  float f;
  __builtin_memcpy(&f, &v, 4);
  return f;
}
inline u32 f32_to_bits(float v) {
  u32 u;
  __builtin_memcpy(&u, &v, 4);
  return u;
}
inline float bf16_to_f32(u16 v) { return bits_to_f32(static_cast<u32>(v) << 16); }
inline float bf16_low(u32 v) { return bits_to_f32(v << 16); }
inline float bf16_high(u32 v) { return bits_to_f32(v & 0xffff0000u); }
// Nearest, ties to even; every NaN becomes 0x7fff, as cvt.rn.bf16x2.f32 gives it.
inline u16 f32_to_bf16(float v) {
  const u32 bits = f32_to_bits(v);
  if (v != v) return 0x7fff;
  return static_cast<u16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline u32 pack_bf16(float low, float high) {
  return f32_to_bf16(low) | static_cast<u32>(f32_to_bf16(high)) << 16;
}
inline float round_bf16(float v) { return bf16_to_f32(f32_to_bf16(v)); }
inline u32 low_halves(u32 a, u32 b) { return (a & 0xffffu) | b << 16; }
inline u32 high_halves(u32 a, u32 b) { return a >> 16 | (b & 0xffff0000u); }
inline u32 multiply_high(u32 a, u32 b) { return static_cast<u32>(static_cast<u64>(a) * b >> 32); }
inline u64 multiply_high(u64 a, u64 b) {
  return static_cast<u64>(static_cast<unsigned __int128>(a) * b >> 64);
}
// The build contracts nothing (-ffp-contract=off).
inline float add_rn(float a, float b) { return a + b; }
inline float multiply_rn(float a, float b) { return a * b; }
inline float divide_rn(float a, float b) { return a / b; }

inline float m_exp(float x) { return __builtin_expf(x); }
inline float m_log(float x) { return __builtin_logf(x); }
inline float m_sqrt(float x) { return __builtin_sqrtf(x); }
inline float m_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float m_tanh(float x) { return __builtin_tanhf(x); }
inline float m_sigmoid(float x) { return 1.0f / (1.0f + __builtin_expf(-x)); }
inline float m_erf(float x) { return __builtin_erff(x); }
inline float m_sin(float x) { return __builtin_sinf(x); }
inline float m_cos(float x) { return __builtin_cosf(x); }
inline void m_sincos(float x, float& sine, float& cosine) { sine = m_sin(x), cosine = m_cos(x); }
inline float m_floor(float x) { return __builtin_floorf(x); }
inline float m_ceil(float x) { return __builtin_ceilf(x); }
inline float m_abs(float x) { return __builtin_fabsf(x); }
inline float m_min(float x, float y) { return __builtin_fminf(x, y); }
inline float m_max(float x, float y) { return __builtin_fmaxf(x, y); }
inline float m_pow(float x, float y) { return __builtin_powf(x, y); }
inline float exp2_fast(float x) { return __builtin_exp2f(x); }
inline float reciprocal_fast(float x) { return 1.0f / x; }

inline u32 transpose_8x8(u32 v) {
  const u32 lane = thread_index() % 32, row = lane / 4, from = lane % 4 * 8 + row / 2;
  const u64 low = emulator::warp_shuffle(v, lane ^ from);
  const u64 high = emulator::warp_shuffle(v, lane ^ (from + 4));
  const u32 shift = row % 2 * 16;
  return (low >> shift & 0xffffu) | (high >> shift & 0xffffu) << 16;
}
inline void mma_16x8x16(float (&d)[4], Vec4 a, u32 b0, u32 b1) {
  const u32 words[4] = {a.x, a.y, a.z, a.w};
  emulator::warp_multiply(d, words, b0, b1);
}

#endif
