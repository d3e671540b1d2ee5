// The hostile guest's (guest.c) side of the virtio devices: where registers and rings are, how a
// device is brought up, and addresses and lengths that no driver uses.
#ifndef TESTS_HOSTILE_VIRTIO_H
#define TESTS_HOSTILE_VIRTIO_H

#include "tests/hostile/processor.h"

// vmm/arch/x86_64/layout.h, ARCHITECTURE.md ("The guest's hardware").
#define VIRTIO(slot) (0xd0000000ull + (uint64_t)(slot)*0x1000)
enum { kSlots = 8, kQueues = 4 };
static const uint64_t kIoapic = 0xfec00000, kLapic = 0xfee00000, kWindow = 0x100000000;

// Memory that only devices and their driver use: rings at 8 MiB, buffers from 16 MiB on.
static const uint64_t kRings = 8u << 20, kBuffers = 16u << 20, kBufferBytes = 16u << 20;
static uint64_t ram_end;  // where this machine's RAM ends

enum {
  kMagic = 0x00,
  kDeviceFeatures = 0x10,
  kDeviceFeaturesPage = 0x14,
  kDriverFeatures = 0x20,
  kDriverFeaturesPage = 0x24,
  kQueueSelect = 0x30,
  kQueueSizeMax = 0x34,
  kQueueSize = 0x38,
  kQueueReady = 0x44,
  kNotify = 0x50,
  kStatus = 0x70,
  kQueueAddresses = 0x80,
  kConfig = 0x100
};

static uint16_t queue_sizes[kSlots][kQueues];
static uint16_t offered[kSlots][kQueues];

static uint64_t descriptors_of(int slot, int queue) {
  return kRings + (uint64_t)(slot * kQueues + queue) * 0x10000;
}
static uint64_t available_of(int slot, int queue) { return descriptors_of(slot, queue) + 0x8000; }
static uint64_t used_of(int slot, int queue) { return descriptors_of(slot, queue) + 0xa000; }

/// Addresses that no driver uses: wrapping, at the ends of RAM, registers, code, the rings.
static uint64_t odd_address(void) {
  switch (below(10)) {
    case 0:
      return any();
    case 1:
      return ~below(4096);
    case 2:
      return ram_end - below(4096);
    case 3:
      return ram_end + below(65536);
    case 4:
      return kWindow + below(1u << 30);
    case 5:
      return VIRTIO(below(kSlots + 1)) + below(4096);
    case 6:
      return one_in(2) ? kIoapic : kLapic;
    case 7:
      return kRings + below(2u << 20);
    default:
      return kBuffers + below(kBufferBytes);
  }
}
static uint32_t odd_length(void) {
  return one_in(2) ? (uint32_t)odd_number() : (uint32_t)below(8192);
}

/// Brings a device up as a driver does, without the features `left_out`. False if it refuses.
static int start_device(int slot, uint64_t left_out) {
  const uint64_t base = VIRTIO(slot);
  write32(base + kStatus, 0);
  write32(base + kStatus, 1 | 2);
  for (uint32_t page = 0; page < 2; ++page) {
    write32(base + kDeviceFeaturesPage, page);
    const uint32_t features = read32(base + kDeviceFeatures);
    write32(base + kDriverFeaturesPage, page);
    write32(base + kDriverFeatures, features & ~(uint32_t)(left_out >> (32 * page)));
  }
  write32(base + kStatus, 1 | 2 | 8);
  for (int queue = 0; queue < kQueues; ++queue) {
    write32(base + kQueueSelect, (uint32_t)queue);
    const uint32_t most = read32(base + kQueueSizeMax);
    queue_sizes[slot][queue] = (uint16_t)(most > 256 ? 256 : most);
    offered[slot][queue] = 0;
    if (most == 0) continue;
    const uint64_t places[3] = {descriptors_of(slot, queue), available_of(slot, queue),
                                used_of(slot, queue)};
    write32(places[1], 0);  // flags and index; what else is there is whatever was there
    write32(places[2], 0);
    write32(base + kQueueSize, queue_sizes[slot][queue]);
    for (uint64_t i = 0; i < 3; ++i) {
      write32(base + kQueueAddresses + 16 * i, (uint32_t)places[i]);
      write32(base + kQueueAddresses + 16 * i + 4, 0);
    }
    write32(base + kQueueReady, 1);
  }
  write32(base + kStatus, 1 | 2 | 8 | 4);
  return (read32(base + kStatus) & 0x40) == 0;
}

static void put_in_table(uint64_t table, uint16_t index, uint64_t address, uint32_t length,
                         uint16_t flags, uint16_t next) {
  volatile uint64_t* const at = (volatile uint64_t*)(table + 16ull * index);
  at[0] = address;
  at[1] = length | ((uint64_t)flags << 32) | ((uint64_t)next << 48);
}
static void put_descriptor(int slot, int queue, uint16_t index, uint64_t address, uint32_t length,
                           uint16_t flags, uint16_t next) {
  put_in_table(descriptors_of(slot, queue), index, address, length, flags, next);
}

static void offer(int slot, int queue, uint16_t head) {
  const uint16_t size = queue_sizes[slot][queue];
  if (size == 0) return;
  volatile uint16_t* const ring = (volatile uint16_t*)available_of(slot, queue);
  ring[2 + offered[slot][queue] % size] = head;
  __asm__ volatile("" ::: "memory");
  ring[1] = ++offered[slot][queue];
}
static void kick(int slot, int queue) { write32(VIRTIO(slot) + kNotify, (uint32_t)queue); }

#endif
