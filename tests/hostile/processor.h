// What the hostile guest (guest.c) does to its processor: random numbers, instructions that may
// fault, exceptions that are survived.
#ifndef TESTS_HOSTILE_PROCESSOR_H
#define TESTS_HOSTILE_PROCESSOR_H

#include <stdint.h>

static uint64_t random_state;

/// xorshift64*: the same sequence for the same seed.
static uint64_t any(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 0x2545f4914f6cdd1dull;
}
static uint64_t below(uint64_t bound) { return (any() >> 11) % bound; }
static int one_in(uint64_t chances) { return below(chances) == 0; }
/// Numbers that tend to break things: small ones, powers of two and their neighbours, anything.
static uint64_t odd_number(void) {
  switch (below(4)) {
    case 0:
      return below(32);
    case 1:
      return (1ull << below(64)) - below(2);
    case 2:
      return ~below(4096);
    default:
      return any();
  }
}

static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "d"(port));
}

static void say(const char* text) {
  for (; *text != 0; ++text) out8(0x3f8, (uint8_t)*text);
}
static void say_number(uint64_t value) {
  char digits[21];
  int at = 20;
  digits[at] = 0;
  do digits[--at] = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  say(digits + at);
}

// --- exceptions -------------------------------------------------------------------------------
// Where the program goes on after a fault: behind the instruction of GUARDED.
extern uint64_t resume_at, resume_stack;
extern const char exception_entry[], interrupt_entry[];

__asm__(
    ".bss\n"
    ".balign 8\n"
    ".globl resume_at, resume_stack\n"
    "resume_at: .quad 0\n"
    "resume_stack: .quad 0\n"
    ".text\n"
    ".globl exception_entry, interrupt_entry\n"
    "exception_entry:\n"
    "  mov resume_stack(%rip), %rsp\n"
    "  jmp *resume_at(%rip)\n"
    "interrupt_entry:\n"
    "  push %rax\n"
    "  mov $0xfee000b0, %eax\n"  // end of interrupt
    "  movl $0, (%rax)\n"
    "  pop %rax\n"
    "  iretq\n");

/// Runs one instruction; if it faults, execution goes on behind it. It may change what it names.
#define GUARDED(instruction, ...)                            \
  __asm__ volatile(                                          \
      "lea 1f(%%rip), %%r11\n mov %%r11, resume_at(%%rip)\n" \
      "mov %%rsp, resume_stack(%%rip)\n" instruction "\n1:\n" __VA_ARGS__)

struct gate {
  uint16_t low, selector;
  uint8_t stack, type;
  uint16_t middle;
  uint32_t high, reserved;
};
static struct gate gates[256];

struct table_register {
  uint16_t limit;
  uint64_t base;
} __attribute__((packed));

static void survive_exceptions(void) {
  const struct table_register table = {sizeof gates - 1, (uint64_t)gates};
  for (unsigned i = 0; i < 256; ++i) {
    // An NMI is not survived but taken: until its iretq there would be no other.
    const int is_exception = i < 32 && i != 2;
    const uint64_t entry = (uint64_t)(is_exception ? exception_entry : interrupt_entry);
    gates[i] = (struct gate){(uint16_t)entry,         0x10, 0, 0x8e, (uint16_t)(entry >> 16),
                             (uint32_t)(entry >> 32), 0};
  }
  __asm__ volatile("lidt %0" ::"m"(table));
}

/// With no table at all, the first exception ends the machine.
static void triple_fault(void) {
  const struct table_register none = {0, 0};
  __asm__ volatile("lidt %0\n ud2" ::"m"(none));
}

// --- memory -----------------------------------------------------------------------------------
/// Page tables and segments are in this program's own memory. When the guest is entered they are in
/// the first pages of RAM, which a balloon list of small numbers gives away. 4 GiB are mapped as at
/// the entry, and 2 GiB more, where the layers window is.
enum { kMappedGib = 6 };
static uint64_t page_tables[2 + kMappedGib][512] __attribute__((aligned(4096)));
static const uint64_t segments[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

static void leave_low_memory(void) {
  page_tables[0][0] = (uint64_t)page_tables[1] | 3;
  for (uint64_t gib = 0; gib < kMappedGib; ++gib) {
    uint64_t* const directory = page_tables[2 + gib];
    for (uint64_t i = 0; i < 512; ++i) directory[i] = (gib << 30) | (i << 21) | 0x83;
    page_tables[1][gib] = (uint64_t)directory | 3;
  }
  const struct table_register table = {sizeof segments - 1, (uint64_t)segments};
  __asm__ volatile("lgdt %0\n mov %1, %%cr3" ::"m"(table), "r"((uint64_t)page_tables) : "memory");
}

/// An access of 1, 2, 4 or 8 bytes at any mapped address.
static void read_at(uint64_t address, unsigned width) {
  switch (width) {
    case 1:
      GUARDED("movb (%0), %%al", ::"r"(address) : "rax", "r11", "memory");
      break;
    case 2:
      GUARDED("movw (%0), %%ax", ::"r"(address) : "rax", "r11", "memory");
      break;
    case 4:
      GUARDED("movl (%0), %%eax", ::"r"(address) : "rax", "r11", "memory");
      break;
    default:
      GUARDED("movq (%0), %%rax", ::"r"(address) : "rax", "r11", "memory");
  }
}
static void write_at(uint64_t address, unsigned width, uint64_t value) {
  switch (width) {
    case 1:
      GUARDED("movb %b1, (%0)", ::"r"(address), "a"(value) : "r11", "memory");
      break;
    case 2:
      GUARDED("movw %w1, (%0)", ::"r"(address), "a"(value) : "r11", "memory");
      break;
    case 4:
      GUARDED("movl %k1, (%0)", ::"r"(address), "a"(value) : "r11", "memory");
      break;
    default:
      GUARDED("movq %1, (%0)", ::"r"(address), "a"(value) : "r11", "memory");
  }
}
static unsigned any_width(void) { return 1u << below(4); }

static void write32(uint64_t address, uint32_t value) { *(volatile uint32_t*)address = value; }
static uint32_t read32(uint64_t address) { return *(volatile uint32_t*)address; }

// --- what else a processor can be asked --------------------------------------------------------
static void any_port_access(uint16_t port) {
  const uint32_t value = (uint32_t)odd_number();
  switch (below(6)) {
    case 0:
      // 0xfe on the reset line is how a run ends in order.
      if (port != 0x64 || (uint8_t)value != 0xfe) out8(port, (uint8_t)value);
      break;
    case 1:
      if (port > 0x64 || port + 1 < 0x64) __asm__ volatile("outw %w0, %w1" ::"a"(value), "d"(port));
      break;
    case 2:
      if (port > 0x64 || port + 3 < 0x64) __asm__ volatile("outl %0, %w1" ::"a"(value), "d"(port));
      break;
    case 3:
      __asm__ volatile("inb %w0, %%al" ::"d"(port) : "rax");
      break;
    case 4:
      __asm__ volatile("inw %w0, %%ax" ::"d"(port) : "rax");
      break;
    default:
      __asm__ volatile("inl %w0, %%eax" ::"d"(port) : "rax");
  }
}

static void any_register_access(void) {
  // Ranges with something in them: APIC base, MTRRs, x2APIC, KVM's, syscall's, AMD's; and any.
  static const uint32_t kRanges[] = {0x1b,       0x200,      0x800, 0x4b564d00,
                                     0xc0000080, 0xc0010000, 0x11,  0x6e0};
  uint32_t index = one_in(4) ? (uint32_t)any() : kRanges[below(8)] + (uint32_t)below(64);
  // EFER and APIC base, which this code needs as they are, and KVM's registers that make it write
  // into memory, are not touched.
  if (index == 0xc0000080 || index == 0x1b || (index & 0xfffffff0) == 0x4b564d00) index = 0x10;
  // Nor is x2APIC's interrupt command, which could reset this processor.
  if (index == 0x830) index = 0x80b;
  const uint64_t value = odd_number();
  if (one_in(2)) {
    GUARDED("rdmsr", ::"c"(index) : "rax", "rdx", "r11");
  } else {
    GUARDED("wrmsr", ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "r11");
  }
}

static void any_hypercall(void) {
  const uint64_t number = below(16), a = odd_number(), b = odd_number(), c = odd_number();
  if (one_in(2)) {
    GUARDED("vmcall", ::"a"(number), "b"(a), "c"(b), "d"(c) : "r11", "memory");
  } else {
    GUARDED("vmmcall", ::"a"(number), "b"(a), "c"(b), "d"(c) : "r11", "memory");
  }
}

/// Runs an odd instruction. `kind` is below 8; check.cc tries each.
static void odd_instruction(uint64_t kind) {
  uint32_t a = (uint32_t)odd_number(), c = (uint32_t)below(64);
  switch (kind) {
    case 0:
      __asm__ volatile("cpuid" : "+a"(a), "+c"(c)::"rbx", "rdx");
      break;
    case 1:
      GUARDED("rdpmc", ::"c"(c) : "rax", "rdx", "r11");
      break;
    case 2:
      GUARDED("wbinvd", ::: "r11", "memory");
      break;
    case 3:
      GUARDED("movq %0, %%dr7", ::"r"(0x400ull | (odd_number() & 0xffff0000)) : "r11");
      GUARDED("movq %0, %%dr7", ::"r"(0x400ull) : "r11");
      break;
    case 4:
      GUARDED("invlpg (%0)", ::"r"(any()) : "r11", "memory");
      break;
    case 5:
      GUARDED("ud2", ::: "r11");
      break;
    case 6:
      GUARDED("monitor", ::"a"(a), "c"(0), "d"(0) : "r11");
      break;
    default:
      GUARDED("movq %0, %%cr8", ::"r"(below(16)) : "r11");
      GUARDED("movq %0, %%cr8", ::"r"(0ull) : "r11");
  }
}

#endif
