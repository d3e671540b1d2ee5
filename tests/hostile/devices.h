// What the hostile guest (guest.c) does to the machine's devices: one action each.
#ifndef TESTS_HOSTILE_DEVICES_H
#define TESTS_HOSTILE_DEVICES_H

#include "tests/hostile/virtio.h"

static void poke_registers(void) {
  const uint64_t base = VIRTIO(below(kSlots));
  for (uint64_t left = 1 + below(32); left > 0; --left) {
    const uint64_t offset = one_in(4) ? below(4096) : below(0x48) * 4;
    if (one_in(3)) {
      read_at(base + offset, any_width());
      continue;
    }
    uint64_t value = odd_number();
    // No rings where this program lives, below kRings: what a device writes there ends the run
    // early.
    if ((offset & ~0x30ull) == kQueueAddresses && (uint32_t)value < kRings) value |= kRings;
    write_at(base + offset, one_in(4) ? any_width() : 4, value);
  }
}

/// Queues where none can be, of sizes that none can have, half set up, and used anyway.
static void poke_queues(void) {
  const int slot = (int)below(kSlots);
  const uint64_t base = VIRTIO(slot);
  if (one_in(2)) write32(base + kStatus, 0);
  write32(base + kStatus, 1 | 2);
  write32(base + kStatus, 1 | 2 | 8);
  for (uint64_t left = 1 + below(6); left > 0; --left) {
    write32(base + kQueueSelect, one_in(8) ? (uint32_t)odd_number() : (uint32_t)below(4));
    write32(base + kQueueSize, one_in(2) ? (uint32_t)odd_number() : 1u << below(16));
    for (uint64_t i = 0; i < 3; ++i) {
      const uint64_t address = odd_address();
      write32(base + kQueueAddresses + 16 * i, (uint32_t)address);
      write32(base + kQueueAddresses + 16 * i + 4, (uint32_t)(address >> 32));
    }
    write32(base + kQueueReady, (uint32_t)below(3));
  }
  write32(base + kStatus, 1 | 2 | 8 | 4);
  for (uint32_t queue = 0; queue < kQueues; ++queue) write32(base + kNotify, queue);
}

/// A chain of any shape: loops, wrong directions, ends outside of its table.
static void put_odd_chain(uint64_t table, uint16_t size, uint16_t head) {
  uint16_t index = head;
  for (uint64_t left = 1 + below(6); left > 0; --left) {
    const uint16_t next = one_in(20) ? (uint16_t)any() : (uint16_t)below(size);
    uint16_t flags = (uint16_t)((left > 1 || one_in(16) ? 1 : 0) | (one_in(2) ? 2 : 0));
    if (one_in(16)) flags |= 4;
    if (one_in(32)) flags = (uint16_t)any();
    const uint64_t address = one_in(6) ? odd_address() : kBuffers + below(kBufferBytes - 65536);
    put_in_table(table, index, address, one_in(6) ? odd_length() : (uint32_t)below(4096), flags,
                 next);
    index = (uint16_t)(next % size);
  }
}

/// Chains of any shape in a queue that is set up well, some in tables of their own; and descriptors
/// that change while the device reads them.
static void break_rings(void) {
  const int slot = (int)below(kSlots);
  if (one_in(4) || (read32(VIRTIO(slot) + kStatus) & 0x44) != 4)
    start_device(slot, one_in(2) ? 0x30000000 : 0);
  const int queue = (int)below(kQueues);
  const uint16_t size = queue_sizes[slot][queue];
  if (size == 0) return;
  for (uint64_t chains = 1 + below(16); chains > 0; --chains) {
    const uint16_t head = (uint16_t)below(size);
    if (one_in(4)) {
      const uint64_t table = kBuffers + 0x400000 + below(64) * 4096;
      const uint16_t entries = (uint16_t)(1 + below(16));
      put_odd_chain(table, entries, 0);
      put_descriptor(slot, queue, head, table, 16u * entries, 4, 0);
    } else {
      put_odd_chain(descriptors_of(slot, queue), size, head);
    }
    if (one_in(64)) offered[slot][queue] = (uint16_t)any();
    offer(slot, queue, one_in(64) ? (uint16_t)any() : head);
    if (one_in(2)) kick(slot, queue);
    for (uint64_t left = below(8); left > 0; --left)
      put_descriptor(slot, queue, (uint16_t)below(size), odd_address(), odd_length(),
                     (uint16_t)below(8), (uint16_t)below(size));
  }
  kick(slot, queue);
}

static void storm_of_notifications(void) {
  const int slot = (int)below(kSlots);
  for (uint64_t left = below(64); left > 0; --left)
    write32(VIRTIO(slot) + kNotify, one_in(16) ? (uint32_t)any() : (uint32_t)below(kQueues));
}

/// A request to a disk, with a type, a place and a length of any kind.
static void odd_disk_request(void) {
  static const uint32_t kTypes[] = {0, 1, 4, 8, 11, 13, 99, 0x80000000};
  const int slot = (int)below(2);
  if ((read32(VIRTIO(slot) + kStatus) & 0x44) != 4 && !start_device(slot, 0)) return;
  const uint64_t header = kBuffers, data = kBuffers + 0x10000, status = kBuffers + 0x8000;
  const uint32_t type = kTypes[below(8)];
  uint32_t length = one_in(4) ? odd_length() : 512u * (uint32_t)(1 + below(16));
  *(volatile uint32_t*)header = type;
  *(volatile uint64_t*)(header + 8) = one_in(2) ? below(16384) : odd_number();
  // Of a discard the data is ranges: sector, number of sectors, flags.
  for (uint64_t at = data; at < data + 256; at += 16) {
    *(volatile uint64_t*)at = one_in(2) ? below(16384) : odd_number();
    *(volatile uint64_t*)(at + 8) =
        one_in(4) ? odd_number()
                  : below(one_in(2) ? 64 : 1u << 23) | below(one_in(2) ? 1 : 3) << 32;
  }
  if (one_in(2) && type > 8) length = 16 * (1 + (uint32_t)below(one_in(4) ? 20 : 2));
  const uint16_t writable = type == 0 || type == 8 ? 2 : 0;
  put_descriptor(slot, 0, 0, header, one_in(16) ? odd_length() : 16, 1, 1);
  put_descriptor(slot, 0, 1, data, length, (uint16_t)(1 | writable), 2);
  put_descriptor(slot, 0, 2, status, 1, one_in(16) ? 0 : 2, 0);
  offer(slot, 0, 0);
  kick(slot, 0);
}

static void odd_frames(void) {
  if ((read32(VIRTIO(2) + kStatus) & 0x44) != 4 && !start_device(2, 0)) return;
  for (uint16_t i = 0; i < 8; ++i) {
    const uint64_t at = kBuffers + 0x20000 + i * 4096ull;
    for (uint64_t word = 0; word < 8; ++word)
      *(volatile uint64_t*)(at + word * 8) = one_in(2) ? 0 : any();
    if (one_in(2)) {
      // A header and a source that pass: flags, segmentation and lengths that may not.
      const uint64_t fields = any() & (one_in(2) ? 0x003f003f003f : ~0ull) << 16;
      *(volatile uint64_t*)at = one_in(2) ? 0 : below(2) | below(6) << 8 | fields;
      *(volatile uint32_t*)(at + 8) = (uint32_t)below(one_in(2) ? 64 : 65536);
      *(volatile uint16_t*)(at + 18) = 0x4202;
      *(volatile uint32_t*)(at + 20) = 0x09000000;
    }
    const int queue = one_in(2);
    put_descriptor(2, queue, i, at, one_in(8) ? odd_length() : (uint32_t)below(2048),
                   queue == 0 ? 2 : 0, 0);
    offer(2, queue, i);
  }
  kick(2, 0);
  kick(2, 1);
}

/// Room for 8 packets from the host.
static void offer_vsock_buffers(void) {
  for (uint16_t i = 0; i < 8; ++i) {
    put_descriptor(3, 0, i, kBuffers + 0x80000 + i * 4096ull, 4096, 2, 0);
    offer(3, 0, i);
  }
}

/// Writes a packet of the stream that the host opens (monitor.cc); returns its address.
static uint64_t put_vsock_packet(uint16_t index, uint16_t operation, uint32_t length) {
  const uint64_t at = kBuffers + 0x60000 + index * 4096ull;
  *(volatile uint64_t*)at = 3;  // from
  *(volatile uint64_t*)(at + 8) = 2;
  *(volatile uint32_t*)(at + 16) = 1024;
  *(volatile uint32_t*)(at + 20) = 0x40000000;
  *(volatile uint32_t*)(at + 24) = length;
  *(volatile uint16_t*)(at + 28) = 1;
  *(volatile uint16_t*)(at + 30) = operation;
  *(volatile uint32_t*)(at + 32) = (uint32_t)below(8);
  *(volatile uint32_t*)(at + 36) = (uint32_t)odd_number();
  *(volatile uint32_t*)(at + 40) = (uint32_t)odd_number();
  put_descriptor(3, 1, index, at, 44 + length, 0, 0);
  return at;
}

/// Takes the host's stream, and then does not keep to its credit or order.
static void talk_on_vsock_stream(void) {
  if (!start_device(3, 0)) return;
  offer_vsock_buffers();
  kick(3, 0);
  for (uint64_t left = 1 + below(64); left > 0; --left) {
    const uint16_t index = (uint16_t)(left % 8);
    const uint16_t operation = one_in(16) ? (uint16_t)below(9) : 5 + (uint16_t)below(3);
    put_vsock_packet(index, operation, operation == 5 ? (uint32_t)below(4000) : 0);
    if (offered[3][1] == 0) put_vsock_packet(index, 2, 0);  // the answer to the host's request
    offer(3, 1, index);
    kick(3, 1);
    if (one_in(8)) offer_vsock_buffers();
  }
}

/// Packets to ports that listen and ports that do not, in no order that makes sense.
static void odd_vsock_packets(void) {
  if ((read32(VIRTIO(3) + kStatus) & 0x44) != 4 && !start_device(3, 0)) return;
  offer_vsock_buffers();
  for (uint16_t i = 0; i < 8; ++i) {
    const uint64_t at = put_vsock_packet(i, (uint16_t)below(9), (uint32_t)below(4000));
    if (one_in(16)) *(volatile uint64_t*)at = any();
    if (one_in(16)) *(volatile uint64_t*)(at + 8) = any();
    if (one_in(2)) *(volatile uint32_t*)(at + 16) = (uint32_t)any();
    if (one_in(2)) *(volatile uint32_t*)(at + 20) = (uint32_t)any();
    if (one_in(3)) *(volatile uint32_t*)(at + 24) = (uint32_t)odd_number();
    if (one_in(16)) *(volatile uint32_t*)(at + 28) = (uint32_t)any();
    if (one_in(4)) put_descriptor(3, 1, i, at, odd_length(), 0, 0);
    offer(3, 1, i);
  }
  kick(3, 0);
  kick(3, 1);
}

/// Gives away pages that it has and pages that nobody has, again and again.
static void odd_balloon(void) {
  if ((read32(VIRTIO(6) + kStatus) & 0x44) != 4 && !start_device(6, 0)) return;
  const uint64_t list = kBuffers + 0x100000;
  const uint64_t count = 1 + below(128);
  // Not what this program lives in: its pages would be zero.
  const uint64_t lowest = (kBuffers + kBufferBytes) >> 12;
  for (uint64_t i = 0; i < count; ++i)
    write32(list + 4 * i,
            one_in(16) ? (uint32_t)(any() | 0x80000000) : (uint32_t)(lowest + below(8192)));
  for (uint16_t i = 0; i < 16; ++i) {
    put_descriptor(6, (int)below(3), i, list, (uint32_t)(4 * count), 0, 0);
    for (int queue = 0; queue < 3; ++queue) offer(6, queue, i);
  }
  for (int queue = 0; queue < 3; ++queue) kick(6, queue);
}

static void poke_interrupt_controllers(void) {
  for (uint64_t left = 1 + below(32); left > 0; --left) {
    if (one_in(3)) {
      write_at(kIoapic + below(0x1000), any_width(), odd_number());
      continue;
    }
    write32(kIoapic, (uint32_t)below(0x48));
    uint32_t entry = (uint32_t)odd_number();
    // Delivery as SMI or INIT would end the run: that is an ending of its own.
    if ((entry & 0x500) != 0) entry &= ~0x700u;
    write32(kIoapic + 0x10, entry);
  }
  for (uint64_t left = below(16); left > 0; --left) {
    const uint64_t offset = below(0x40) * 16;
    if (offset == 0x300 || offset == 0xf0) continue;  // interrupt command; the enable bit
    if (one_in(2))
      read_at(kLapic + offset, 4);
    else
      write_at(kLapic + offset, 4, odd_number());
  }
}

static void poke_addresses(void) {
  for (uint64_t left = 1 + below(32); left > 0; --left) {
    uint64_t address = odd_address();
    // What is mapped and is not this program's: the hole below 4 GiB, or the window.
    if (one_in(2)) address = 0xc0000000 + below(0x3e000000);
    if (one_in(4)) address = kWindow + below((uint64_t)(kMappedGib - 4) << 30);
    if (address < 0xc0000000 || address >= kWindow + ((uint64_t)(kMappedGib - 4) << 30)) continue;
    if (address >= kLapic && address < kLapic + 0x1000) continue;
    if (one_in(2))
      read_at(address, any_width());
    else
      write_at(address, any_width(), any());
  }
}

/// String instructions between registers and memory, ports and memory.
static void odd_strings(void) {
  uint64_t from = one_in(2) ? VIRTIO(below(kSlots)) + below(4096) : kBuffers;
  uint64_t to = one_in(2) ? VIRTIO(below(kSlots)) + kConfig + below(256) : kBuffers;
  uint64_t count = below(256);
  switch (below(3)) {
    case 0:
      __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
      break;
    case 1:
      to = kBuffers;
      __asm__ volatile("rep insl" : "+D"(to), "+c"(count) : "d"((uint16_t)any()) : "memory");
      break;
    default:
      from = kBuffers + 0x200000;
      count = below(256);
      for (uint64_t i = 0; i < count; ++i)
        *(volatile uint8_t*)(from + i) = one_in(64) ? '\n' : (uint8_t)any();
      __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"((uint16_t)0x3f8) : "memory");
  }
}

/// Empty lines, as fast as they go.
enum { kLines = 1024 };
static void storm_of_lines(void) {
  const uint64_t lines = kBuffers + 0x300000;
  for (uint64_t i = 0; i < kLines; i += 8) *(volatile uint64_t*)(lines + i) = 0x0a0a0a0a0a0a0a0a;
  for (uint64_t left = 1 + below(8); left > 0; --left) {
    uint64_t from = lines, count = kLines;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"((uint16_t)0x3f8) : "memory");
  }
}

#endif
