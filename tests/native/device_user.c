// A guest kernel of a few hundred lines that uses each device of a machine, as any KVM runs it.
// monitor_calls_test.py boots it, saves a template and restores a clone, and gives orders over
// vsock.
//
// Entered as Linux would be: 64-bit mode, the first 4 GiB mapped one to one, interrupts off. It
// runs on the first processor, polls, and believes the monitor. A wait that does not end is the
// test's to end.
//
// Streams that the host opens to guest ports:
//   1  orders, a byte each, answered by the same byte when they are carried out: 'r' nothing,
//      'w' use every device, 'x' end the machine (not answered)
//   2  the guest sends kFlood bytes at once
#include <stdint.h>

enum { kLayers, kDisk, kNet, kVsock, kConsole, kRandom, kBalloon, kSlots = 8 };
enum { kMostQueues = 3, kRing = 16, kBuffers = 8, kBufferBytes = 4096, kFlood = 1 << 20 };
enum { kOrders = 1, kFloods = 2 };  // guest ports

// --- the processor

static void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void relax(void) { __asm__ volatile("pause" : : : "memory"); }

static void fence(void) { __asm__ volatile("mfence" : : : "memory"); }

static void store32(uint64_t address, uint32_t value) {
  __asm__ volatile("movl %1, (%0)" : : "r"(address), "r"(value) : "memory");
}

void* memset(void* to, int value, unsigned long size);
void* memset(void* to, int value, unsigned long size) {
  for (unsigned long i = 0; i < size; ++i) ((volatile uint8_t*)to)[i] = (uint8_t)value;
  return to;
}

static void say(const char* text) {
  for (; *text != 0; ++text) out8(0x3f8, (uint8_t)*text);
}

static void reset_machine(void) {
  out8(0x64, 0xfe);
  for (;;) relax();
}

// --- the IOAPIC: virtio slot N raises pin 16 + N

enum { kFirstPin = 16, kVector = 0x40, kLevel = 1 << 15, kMasked = 1 << 16 };

static void set_pin(uint32_t pin, uint32_t entry) {
  const uint64_t ioapic = 0xfec00000;
  store32(ioapic, 0x10 + 2 * pin);
  store32(ioapic + 0x10, entry);
}

static void mask_interrupts(void) {
  for (uint32_t slot = 0; slot < kSlots; ++slot) set_pin(kFirstPin + slot, kMasked);
}

/// What was raised while its pin was masked is delivered by the processor that unmasks it.
static void use_interrupts(void) {
  for (uint32_t slot = 0; slot < kSlots; ++slot) set_pin(kFirstPin + slot, kVector + slot);
  set_pin(1, (kVector + kSlots) | kLevel);
  set_pin(1, kMasked);
}

// --- virtio (1.2, 2.7 split virtqueues, 4.2 over MMIO)

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};
enum { kNext = 1, kWritable = 2 };

struct queue {
  struct descriptor descriptors[kRing];
  struct {
    uint16_t flags, index, ring[kRing];
  } available;
  volatile struct {
    uint16_t flags, index;
    struct {
      uint32_t head, length;
    } ring[kRing];
  } used __attribute__((aligned(4)));
  uint16_t seen;  // of `used`
} __attribute__((aligned(4096)));

static struct queue queues[kSlots][kMostQueues];

static uint64_t registers(int slot) { return 0xd0000000 + 0x1000 * (uint64_t)slot; }

static void start_device(int slot, uint32_t features, uint32_t queue_count) {
  const uint64_t at = registers(slot);
  store32(at + 0x70, 0);
  store32(at + 0x70, 3);  // ACKNOWLEDGE, DRIVER
  store32(at + 0x24, 0);
  store32(at + 0x20, features);
  store32(at + 0x24, 1);
  store32(at + 0x20, 1);   // VERSION_1
  store32(at + 0x70, 11);  // FEATURES_OK
  for (uint32_t number = 0; number < queue_count; ++number) {
    struct queue* const queue = &queues[slot][number];
    memset(queue, 0, sizeof *queue);
    store32(at + 0x30, number);
    store32(at + 0x38, kRing);
    store32(at + 0x80, (uint32_t)(uintptr_t)queue->descriptors);
    store32(at + 0x90, (uint32_t)(uintptr_t)&queue->available);
    store32(at + 0xa0, (uint32_t)(uintptr_t)&queue->used);
    store32(at + 0x44, 1);
  }
  store32(at + 0x70, 15);  // DRIVER_OK
}

static void offer(int slot, uint32_t number, uint16_t head) {
  struct queue* const queue = &queues[slot][number];
  queue->available.ring[queue->available.index % kRing] = head;
  fence();
  ++queue->available.index;
  fence();
  store32(registers(slot) + 0x50, number);
}

struct part {
  void* address;
  uint32_t length;
  uint16_t writable;  // kWritable or 0
};

/// Gives one chain to the device and waits until it comes back.
static void use_queue(int slot, uint32_t number, const struct part* parts, uint16_t count) {
  struct queue* const queue = &queues[slot][number];
  for (uint16_t i = 0; i < count; ++i)
    queue->descriptors[i] = (struct descriptor){
        (uintptr_t)parts[i].address, parts[i].length,
        (uint16_t)(parts[i].writable | (i + 1 < count ? kNext : 0)), (uint16_t)(i + 1)};
  offer(slot, number, 0);
  while (queue->used.index == queue->seen) relax();
  ++queue->seen;
}

// --- the devices

static uint8_t bulk[2 << 20];  // larger than what a disk transfers at once
static uint8_t small[4096];

enum { kRead = 0, kWrite = 1, kFlush = 4, kDiscard = 11, kWriteZeroes = 13 };

static void use_disk(int slot, uint32_t type, void* data, uint32_t length) {
  struct {
    uint32_t type, reserved;
    uint64_t sector;
  } header = {type, 0, 0};
  uint8_t status = 0xff;
  struct part parts[3] = {{&header, sizeof header, 0}};
  uint16_t count = 1;
  if (length > 0) parts[count++] = (struct part){data, length, type == kRead ? kWritable : 0};
  parts[count++] = (struct part){&status, 1, kWritable};
  use_queue(slot, 0, parts, count);
  if (status != 0) {
    say("a disk answers with an error\n");
    reset_machine();
  }
}

static void use_disks(void) {
  struct {
    uint64_t sector;
    uint32_t sectors, flags;
  } range = {0, 8, 0};
  use_disk(kDisk, kWrite, small, sizeof small);
  use_disk(kDisk, kWrite, bulk, sizeof bulk);
  use_disk(kDisk, kRead, small, sizeof small);
  use_disk(kDisk, kRead, bulk, sizeof bulk);
  use_disk(kDisk, kDiscard, &range, sizeof range);
  use_disk(kDisk, kWriteZeroes, &range, sizeof range);
  use_disk(kDisk, kFlush, 0, 0);
  use_disk(kLayers, kRead, small, sizeof small);
  use_disk(kLayers, kRead, bulk, sizeof bulk);
}

static void use_net(void) {
  static const uint8_t kFrame[12 + 60] = {[12 + 6] = 2, [12 + 7] = 0x42, [12 + 12] = 8};
  static uint8_t received[2048];
  struct part part = {received, sizeof received, kWritable};
  use_queue(kNet, 0, &part, 1);
  part = (struct part){(void*)(uintptr_t)kFrame, sizeof kFrame, 0};
  use_queue(kNet, 1, &part, 1);
}

static void use_other_devices(void) {
  struct part part = {small, 64, kWritable};
  use_queue(kRandom, 0, &part, 1);
  static const char kText[] = "text on the console\n";
  part = (struct part){(void*)(uintptr_t)kText, sizeof kText - 1, 0};
  use_queue(kConsole, 1, &part, 1);
  uint32_t page = (uint32_t)((uintptr_t)bulk / 4096 + 1);
  part = (struct part){&page, sizeof page, 0};
  use_queue(kBalloon, 0, &part, 1);
}

// --- vsock (virtio 1.2, 5.10)

enum { kRequest = 1, kResponse, kReset, kShutdown, kData };

struct packet {
  uint64_t source_cid, destination_cid;
  uint32_t source_port, destination_port, length;
  uint16_t type, operation;
  uint32_t flags, buffer_size, forwarded;
  uint8_t data[kBufferBytes - 44];
} __attribute__((packed));

static struct packet buffers[kBuffers];
static uint32_t ordered;  // bytes that came on the stream of orders; none come on others

static void send(const struct packet* to, uint16_t operation, void* data, uint32_t length) {
  struct packet header = {.source_cid = 3,
                          .destination_cid = 2,
                          .source_port = to->destination_port,
                          .destination_port = to->source_port,
                          .length = length,
                          .type = 1,
                          .operation = operation,
                          .buffer_size = 1 << 16,
                          .forwarded = to->destination_port == kOrders ? ordered : 0};
  struct part parts[2] = {{&header, 44, 0}, {data, length, 0}};
  use_queue(kVsock, 1, parts, length > 0 ? 2 : 1);
}

static void use_all_devices(void) {
  mask_interrupts();
  start_device(kLayers, 0, 1);
  start_device(kDisk, 1 << 9 | 1 << 13 | 1 << 14, 1);  // FLUSH, DISCARD, WRITE_ZEROES
  start_device(kNet, 0, 2);
  start_device(kConsole, 0, 2);
  start_device(kRandom, 0, 1);
  start_device(kBalloon, 0, 2);
  use_disks();
  use_interrupts();
  use_net();
  use_other_devices();
  say("a line on the serial port\n");
}

static void obey(const struct packet* packet) {
  ordered += packet->length;
  for (uint32_t i = 0; i < packet->length; ++i) {
    uint8_t order = packet->data[i];
    if (order == 'x') reset_machine();
    if (order == 'w') use_all_devices();
    send(packet, kData, &order, 1);
  }
}

static void take(const struct packet* packet) {
  switch (packet->operation) {
    case kRequest:
      send(packet, kResponse, 0, 0);
      if (packet->destination_port != kFloods) return;
      for (uint32_t sent = 0; sent < kFlood; sent += 1 << 16) send(packet, kData, bulk, 1 << 16);
      return;
    case kData:
      if (packet->destination_port == kOrders) obey(packet);
      return;
    case kShutdown:
      send(packet, kReset, 0, 0);
      return;
    default:
      return;
  }
}

void run(void);
void run(void) {
  start_device(kVsock, 0, 3);
  struct queue* const receive = &queues[kVsock][0];
  for (uint16_t i = 0; i < kBuffers; ++i) {
    receive->descriptors[i] =
        (struct descriptor){(uintptr_t)&buffers[i], sizeof buffers[i], kWritable, 0};
    offer(kVsock, 0, i);
  }
  for (;;) {
    while (receive->used.index == receive->seen) relax();
    const uint16_t head = (uint16_t)receive->used.ring[receive->seen % kRing].head;
    ++receive->seen;
    take(&buffers[head]);
    offer(kVsock, 0, head);
  }
}

__asm__(
    ".section .text.start\n.globl _start\n_start:\n"
    "  lea stack_end(%rip), %rsp\n  call run\n"
    ".bss\n.balign 16\n.skip 65536\nstack_end:\n.text\n");
