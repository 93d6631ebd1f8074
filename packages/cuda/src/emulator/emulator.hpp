// What the emulated GPU offers to the kernel's text (through machine_host.hpp) and to the program
// around it (main.cpp). One OS thread runs every GPU thread as a fiber.
#ifndef MPK_EMULATOR_HPP
#define MPK_EMULATOR_HPP

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;

namespace emulator {

// The GPU thread that runs now.
struct Here {
  u32 thread;
  u32 block;
  u32 threads;  // of its block
  u8* shared;   // its block's shared memory
};
extern Here here;

enum class Order { relaxed, acquire, release };
enum class Scope { gpu, system };

// ---- threads meet ------------------------------------------------------------------------------
void block_barrier();
// Hardware barrier 1, for `threads` threads.
void group_barrier(u32 threads);
void warp_barrier();
// The word of the lane whose number differs in `mask`.
u64 warp_shuffle(u64 word, u32 mask);
bool warp_all(bool vote);
// mma.m16n8k16 (row.col, bf16 in, float32 out): every lane's fragments, as PTX lays them out.
void warp_multiply(float* d, const u32* a, u32 b0, u32 b1);

// ---- memory that threads share -----------------------------------------------------------------
u32 load_strong(const u32* p, Order order, Scope scope);
// Lets others go on before this thread looks again.
void poll_pause();
void store_strong(u32* p, u32 v, Order order, Scope scope);
void add_strong(u32* p, u32 v, Order order, Scope scope);
void maximum_strong(u32* p, u32 v, Order order, Scope scope);
u32 compare_swap_strong(u32* p, u32 expected, u32 v, Order order, Scope scope);

// Reads of what copies bring, under way until this thread waits for all of its own.
void load_late(const void* p, void* to, u32 bytes);
void await_loads();

// Before a read by a path that is not kept coherent (ld.global.nc).
void read_constant(const void* p, u32 bytes);

// ---- mbarriers and copies, in shared memory ----------------------------------------------------
void mbarrier_init(u64* bar, u32 arrivals);
void mbarrier_arrive(u64* bar);
// Arrives, and expects `bytes` more before the phase ends.
void mbarrier_arrive_expect(u64* bar, u32 bytes);
// Whether the phase of this parity is over.
bool mbarrier_test(u64* bar, u32 parity);
// Makes initialized mbarriers and generic writes visible to copies.
void fence_async();
// Copies later, then takes `bytes` off what the mbarrier expects.
void bulk_copy(u8* dst, const u8* src, u32 bytes, u64* bar);
// cp.async: copies 16 bytes later, in any order.
void copy_async(u8* dst, const u8* src);
// The phase takes one arrival more.
void mbarrier_expect_arrival(u64* bar);
// cp.async by any thread for itself: 16 bytes, or zeros where `src` is null, in groups; and the wait for
// all groups that have ended but the last `left`.
void copy_piece(u8* dst, const u8* src);
void end_pieces();
void await_pieces(u32 left);
// Arrives on the mbarrier once this thread's copies so far are done.
void mbarrier_arrive_after_copies(u64* bar);

u64 now_nanos();
// The same, read by who marks a time and goes on: two looks in a row are no wait.
u64 mark_nanos();

// Ends the program with a message that names the thread.
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- the kernel, as the program around it sees it ----------------------------------------------
struct PackArguments {
  u8* dst;
  const u32* tasks;
  const u16* sources[8];
  u32 groups, n, k, blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup, folds;
};

// Where the kernel and its host meet.
struct HostWords {
  u32* control;
  const i32* tokens;
  // Set by a kernel that gives up: from then on it orders nothing any more, by design.
  const u32* abort;
};

struct Kernel {
  u32 paramsBytes;
  u32 blocks, threads, sharedBytes;
  u32 producedWord, statusWord, stepsWord, stopWord;  // of the control block
  void (*decode)(const void* params);
  void (*pack)(const PackArguments& arguments);
  HostWords (*hostWords)(const void* params);
};
extern "C" const Kernel mpk_kernel;

}  // namespace emulator

#endif
