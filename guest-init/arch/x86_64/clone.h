// clone3_onto_stack() for x86-64; included through guest-init/arch/clone.h.
#pragma once

#include <linux/sched.h>
#include <sys/syscall.h>

#include <cstdint>

namespace guest_init {

/// In the parent: the child's pid, or -errno. The child calls `entry(argument)` on the stack given
/// in `arguments` (its end 16-byte aligned); `entry` must not return.
inline long clone3_onto_stack(clone_args& arguments, void (*entry)(void*), void* argument) {
  long result = SYS_clone3;
  register void (*r8)(void*) asm("r8") = entry;
  register void* r9 asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r9, %%rdi\n\t"
      "call *%%r8\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(&arguments), "S"(sizeof arguments), "r"(r8), "r"(r9)
      : "rcx", "r11", "memory");
  return result;
}

}  // namespace guest_init
