// Fibers: a stack and a place to go on. Own switch on Linux for x86-64, ucontext elsewhere.
#ifndef MPK_FIBER_HPP
#define MPK_FIBER_HPP

#include <cstddef>
#include <cstdint>
#if defined(__x86_64__) && defined(__linux__) && !defined(MPK_UCONTEXT)
#define MPK_OWN_SWITCH 1
#else
#define MPK_OWN_SWITCH 0
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

// A suspended flow of control.
struct Flow {
#if MPK_OWN_SWITCH
  void* stackPointer = nullptr;
#else
  ucontext_t context;
#endif
  // The address sanitizer must know on which stack it is.
  const void* stackBottom = nullptr;
  std::size_t stackBytes = 0;
  void* fakeStack = nullptr;
};

#if MPK_OWN_SWITCH
extern "C" void mpk_switch_stack(void** save, void* to);
#endif

// Goes on with `to`; returns when something switches back to `from`.
inline void switch_flow(Flow& from, Flow& to, bool last = false) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fakeStack, to.stackBottom, to.stackBytes);
#else
  (void)last;
#endif
#if MPK_OWN_SWITCH
  mpk_switch_stack(&from.stackPointer, to.stackPointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
#endif
}

// The first thing a flow does on its own stack.
inline void arrived_in_flow() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

// Prepares `flow` to run `start` (which never returns) on the stack given.
void make_flow(Flow& flow, std::uint8_t* stack, std::size_t bytes, void (*start)());
// The flow of the OS thread itself, so that fibers can switch back to it.
void adopt_flow(Flow& flow);

}  // namespace emulator

#endif
