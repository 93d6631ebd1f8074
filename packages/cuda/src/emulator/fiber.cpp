// Makes fibers. See fiber.hpp.
#include "fiber.hpp"

#include <pthread.h>

#if MPK_OWN_SWITCH
// Saves what the System V ABI lets a function keep, changes stacks, and restores it.
asm(R"(
.text
.p2align 4
.globl mpk_switch_stack
.type mpk_switch_stack, @function
mpk_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mpk_switch_stack, .-mpk_switch_stack
)");
#endif

namespace emulator {

void make_flow(Flow& flow, std::uint8_t* stack, std::size_t bytes, void (*start)()) {
  flow.stackBottom = stack;
  flow.stackBytes = bytes;
  flow.fakeStack = nullptr;
#if MPK_OWN_SWITCH
  // Six registers, the address to return to, and a zero that ends stack traces; after `ret` the
  // stack is as a call would leave it: 8 bytes short of a multiple of 16.
  void** top = reinterpret_cast<void**>(stack + bytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(start);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  flow.stackPointer = top;
#else
  getcontext(&flow.context);
  flow.context.uc_stack.ss_sp = stack;
  flow.context.uc_stack.ss_size = bytes;
  flow.context.uc_link = nullptr;
  makecontext(&flow.context, start, 0);
#endif
}

void adopt_flow(Flow& flow) {
#if defined(__SANITIZE_ADDRESS__)
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &flow.stackBytes);
  pthread_attr_destroy(&attributes);
  flow.stackBottom = bottom;
#else
  (void)flow;
#endif
}

}  // namespace emulator
