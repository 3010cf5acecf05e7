/// Stack switches: six registers on x86-64 (ucontext makes two system calls each time), ucontext elsewhere.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fiber.hpp"

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
#define ANNULUS_ASSEMBLY_FIBERS 1
#else
#define ANNULUS_ASSEMBLY_FIBERS 0
#include <ucontext.h>
#endif

#if ANNULUS_ASSEMBLY_FIBERS
/// Keeps the callee-saved registers of the caller on its stack, whose top goes to *from, and takes up the stack `to`.
extern "C" void annulus_switch_stack(void** from, void* to);
asm(R"(
.text
.type annulus_switch_stack, @function
annulus_switch_stack:
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
.size annulus_switch_stack, .-annulus_switch_stack
)");
#endif

namespace annulus::test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t stack_bytes = 1 << 19;
#else
constexpr std::size_t stack_bytes = 1 << 16;
#endif

Fibers* active = nullptr;  ///< whose fiber is about to enter: entry points take no arguments

}  // namespace

struct Fibers::Fiber {
  std::unique_ptr<std::byte, decltype(&std::free)> stack{static_cast<std::byte*>(std::aligned_alloc(64, stack_bytes)),
                                                         &std::free};
  std::function<void(int)> body;
  int index = 0;
  bool ended = true;
#if ANNULUS_ASSEMBLY_FIBERS
  void* top = nullptr;
#else
  ucontext_t context{};
#endif
};

struct Fibers::Home {
#if ANNULUS_ASSEMBLY_FIBERS
  void* top = nullptr;
#else
  ucontext_t context{};
#endif
  const void* stack = nullptr;  ///< for the sanitizer
  std::size_t stack_size = 0;
  void* shadow = nullptr;
};

Fibers::Fibers(int count) : home_(std::make_unique<Home>()) {
  for (int i = 0; i < count; ++i) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->index = i;
  }
}
Fibers::~Fibers() = default;

void Fibers::restart(int index, const std::function<void(int)>& body) {
  Fiber& fiber = *fibers_[static_cast<std::size_t>(index)];
  fiber.body = body;
  fiber.ended = false;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack.get(), stack_bytes);  // a fiber that has ended never left its last frames
#endif
#if ANNULUS_ASSEMBLY_FIBERS
  // Six registers, the address that `ret` jumps to, and a slot that leaves the stack aligned as after a call.
  auto* const words = reinterpret_cast<std::uintptr_t*>(fiber.stack.get() + stack_bytes) - 8;
  for (int i = 0; i < 8; ++i) words[i] = 0;
  words[6] = reinterpret_cast<std::uintptr_t>(&Fibers::enter);
  fiber.top = words;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = stack_bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &Fibers::enter, 0);
#endif
}

void Fibers::enter() {
  Fibers& self = *active;
  Fiber& fiber = *self.current_;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self.home_->stack, &self.home_->stack_size);
#endif
  fiber.body(fiber.index);
  fiber.ended = true;
  self.pause();
  std::abort();  // nobody resumes a fiber that has ended
}

bool Fibers::resume(int index) {
  Fiber& fiber = *fibers_[static_cast<std::size_t>(index)];
  current_ = &fiber;
  active = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&home_->shadow, fiber.stack.get(), stack_bytes);
#endif
#if ANNULUS_ASSEMBLY_FIBERS
  annulus_switch_stack(&home_->top, fiber.top);
#else
  swapcontext(&home_->context, &fiber.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(home_->shadow, nullptr, nullptr);
#endif
  current_ = nullptr;
  return !fiber.ended;
}

void Fibers::pause() {
  Fiber& fiber = *current_;
#if defined(__SANITIZE_ADDRESS__)
  void* shadow = nullptr;
  __sanitizer_start_switch_fiber(fiber.ended ? nullptr : &shadow, home_->stack, home_->stack_size);
#endif
#if ANNULUS_ASSEMBLY_FIBERS
  annulus_switch_stack(&fiber.top, home_->top);
#else
  swapcontext(&fiber.context, &home_->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(shadow, &home_->stack, &home_->stack_size);
#endif
}

}  // namespace annulus::test
