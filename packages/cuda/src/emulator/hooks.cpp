// What the compiler calls before every access to memory (-fsanitize=thread), in place of that
// sanitizer's own run-time: its threads are not ours.
#include "memory.hpp"
#include "order.hpp"

#if defined(MPK_CHECK)

#define MPK_SITE __builtin_return_address(0)

namespace {

using emulator::Access;
using emulator::Manner;

void note(const void* p, unsigned long bytes, Access access, Manner manner, const void* site) {
  // What this SM has on its way to memory, it sees itself.
  if (emulator::stores_pending()) emulator::finish_own_stores(p, static_cast<u32>(bytes));
  emulator::touch_here(p, static_cast<u32>(bytes), access, manner, site);
}

}  // namespace

#define MPK_HOOKS(bytes)                                                           \
  void __tsan_read##bytes(void* p) {                                               \
    note(p, bytes, Access::read, Manner::plain, MPK_SITE);                         \
  }                                                                                \
  void __tsan_write##bytes(void* p) {                                              \
    note(p, bytes, Access::write, Manner::plain, MPK_SITE);                        \
  }                                                                                \
  void __tsan_unaligned_read##bytes(void* p) {                                     \
    note(p, bytes, Access::read, Manner::plain, MPK_SITE);                         \
  }                                                                                \
  void __tsan_unaligned_write##bytes(void* p) {                                    \
    note(p, bytes, Access::write, Manner::plain, MPK_SITE);                        \
  }                                                                                \
  void __tsan_volatile_read##bytes(void* p) {                                      \
    note(p, bytes, Access::read, Manner::strong, MPK_SITE);                        \
  }                                                                                \
  void __tsan_volatile_write##bytes(void* p) {                                     \
    note(p, bytes, Access::write, Manner::strong, MPK_SITE);                       \
  }

extern "C" {
MPK_HOOKS(1)
MPK_HOOKS(2)
MPK_HOOKS(4)
MPK_HOOKS(8)
MPK_HOOKS(16)
void __tsan_read_range(void* p, unsigned long bytes) {
  note(p, bytes, Access::read, Manner::plain, MPK_SITE);
}
void __tsan_write_range(void* p, unsigned long bytes) {
  note(p, bytes, Access::write, Manner::plain, MPK_SITE);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
}

#endif
