// A guest that misbehaves: what the monitor boots in the place of a kernel, to try what a kernel
// that somebody has taken over can do to it (check.cc). Freestanding; entered in 64-bit mode by the
// Linux boot protocol, with the first 4 GiB mapped.
//
// Command line: hostile.seed=N hostile.actions=N hostile.ram=BYTES hostile.end=N (enum ending)
// hostile.ports=1 (every 64th of them first) hostile.only=N (one kind of action, or of odd
// instruction) hostile.shown=1 (tell each). The same seed does the same. It tells on the serial
// port when it is through, and ends as it is told.
#include "tests/hostile/devices.h"
#include "tests/hostile/neighbour.h"

enum ending {
  kReset,
  kTripleFault,
  kHalt,
  kSpin,
  kInit,
  kRunRegisters,
  kRunWindow,
  kFlood,
  kHypercalls,
  kInstructions,
  kNeighbour
};

enum { kKinds = 17, kPortStep = 64 };  // kinds of actions; distance between the ports of one run

/// The number behind `name` on the command line, or `otherwise`.
static uint64_t option(const char* line, const char* name, uint64_t otherwise) {
  for (; *line != 0; ++line) {
    const char* at = line;
    const char* wanted = name;
    while (*wanted != 0 && *at == *wanted) ++at, ++wanted;
    if (*wanted != 0) continue;
    uint64_t value = 0;
    for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + (uint64_t)(*at - '0');
    return value;
  }
  return otherwise;
}

static void act(int shown, uint64_t only) {
  const uint64_t any_kind = below(kKinds);
  const uint64_t kind = only < kKinds ? only : any_kind;
  if (shown) {
    out8(0x3fb, 0);
    say("action ");
    say_number(kind);
    say("\n");
  }
  switch (kind) {
    case 0:
    case 1:
      return poke_registers();
    case 2:
      return poke_queues();
    case 3:
    case 4:
    case 5:
      return break_rings();
    case 6:
      return storm_of_notifications();
    case 7:
      return odd_disk_request();
    case 8:
      return odd_frames();
    case 9:
      return odd_vsock_packets();
    case 10:
      return odd_balloon();
    case 11:
      return poke_interrupt_controllers();
    case 12:
      for (uint64_t left = below(64); left > 0; --left)
        any_port_access(one_in(4) ? (uint16_t)(0x3f8 + below(8)) : (uint16_t)any());
      return;
    case 13:
      return poke_addresses();
    case 14:
      for (uint64_t left = below(16); left > 0; --left) any_register_access();
      return;
    case 15:
      return odd_vsock_packets();
    default:
      return one_in(2) ? odd_strings() : storm_of_lines();
  }
}

/// Accesses every 64th port, from one that the seed chooses: on an emulated host each takes long.
static void all_ports(uint64_t seed) {
  for (uint32_t port = (uint32_t)(seed % kPortStep); port < 0x10000; port += kPortStep)
    any_port_access((uint16_t)port);
}

static void end_with(uint64_t ending, uint64_t only) {
  switch (ending) {
    case kTripleFault:
      triple_fault();
      break;
    case kHalt:
      __asm__ volatile("cli\n1: hlt\n jmp 1b");
      break;
    case kSpin:
      for (;;) __asm__ volatile("pause");
    case kInit:
      write32(kLapic + 0xf0, 0x1ff);
      write32(kLapic + 0x300, 0x44500);  // INIT to itself
      for (;;) __asm__ volatile("pause");
    case kRunRegisters:
      __asm__ volatile("jmp *%0" ::"r"(kIoapic));
      break;
    case kRunWindow:
      __asm__ volatile("jmp *%0" ::"r"(VIRTIO(0)));
      break;
    case kFlood:
      for (;;) {
        odd_balloon();
        storm_of_lines();
      }
    case kHypercalls:
      // Hypercalls and odd instructions are endings, no actions: where a host's KVM cannot emulate
      // one, the run ends there.
      for (int i = 0; i < 64; ++i) any_hypercall();
      break;
    case kInstructions:
      for (int i = 0; i < 64; ++i) odd_instruction(only);
      break;
    case kNeighbour:
      be_a_good_neighbour();
      break;
    default:
      break;
  }
  for (;;) out8(0x64, 0xfe);
}

void run(const uint8_t* boot_params) {
  const char* const line = (const char*)(uint64_t)(*(const uint32_t*)(boot_params + 0x228));
  const uint64_t seed = option(line, "hostile.seed=", 1);
  const uint64_t actions = option(line, "hostile.actions=", 100);
  ram_end = option(line, "hostile.ram=", 64u << 20);
  random_state = seed * 0x9e3779b97f4a7c15ull | 1;
  leave_low_memory();
  survive_exceptions();
  if (option(line, "hostile.ports=", 0) != 0) all_ports(seed);
  const int shown = option(line, "hostile.shown=", 0) != 0;
  const uint64_t only = option(line, "hostile.only=", kKinds);
  // First, as the stream does not outlive a reset of its device.
  if (actions > 0) talk_on_vsock_stream();
  for (uint64_t i = 0; i < actions; ++i) act(shown, only);
  write_at(0x3fb, 1, 0);
  out8(0x3fb, 0);  // the serial port's divisor latch may be open
  say("\nhostile guest: seed ");
  say_number(seed);
  say(", all ");
  say_number(actions);
  say(" actions done\n");
  end_with(option(line, "hostile.end=", kReset), only);
}

__asm__(
    ".section .bss\n"
    ".balign 16\n"
    "stack: .skip 65536\n"
    "stack_end:\n"
    ".text\n"
    ".globl _start\n"
    "_start:\n"
    "  lea stack_end(%rip), %rsp\n"
    "  mov %rsi, %rdi\n"
    "  call run\n");
