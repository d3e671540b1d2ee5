// The parts of the C++ runtime that report errors by throwing, replaced by ones that end the
// program: guest-init is built without exceptions, and this keeps the unwinder and its tables (a
// third of the program) out of it. An allocation fails only when the whole guest is out of memory.
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>

#include "guest-init/system/log.h"

namespace {

[[noreturn]] void give_up(const char* why) {
  (void)!write(2, why, __builtin_strlen(why));
  abort();
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  give_up("guest-init: out of memory\n");
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

// libstdc++'s own names for what its containers throw.
namespace std {
void __throw_length_error(const char*) { give_up("guest-init: length error\n"); }
void __throw_logic_error(const char*) { give_up("guest-init: logic error\n"); }
void __throw_out_of_range(const char*) { give_up("guest-init: out of range\n"); }
void __throw_out_of_range_fmt(const char*, ...) { give_up("guest-init: out of range\n"); }
void __throw_bad_alloc() { give_up("guest-init: out of memory\n"); }
void __throw_bad_array_new_length() { give_up("guest-init: bad array length\n"); }
void __throw_bad_function_call() { give_up("guest-init: empty function\n"); }
}  // namespace std

// What std::terminate() calls: libstdc++'s own would bring the demangler along (50 KB).
namespace __cxxabiv1 {
extern std::terminate_handler __terminate_handler;
std::terminate_handler __terminate_handler = std::abort;
}  // namespace __cxxabiv1
