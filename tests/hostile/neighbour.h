// A guest that does no harm, beside the hostile one (guest.c): it writes to its disk and reads
// again what it wrote, until the host stops it.
#ifndef TESTS_HOSTILE_NEIGHBOUR_H
#define TESTS_HOSTILE_NEIGHBOUR_H

#include "tests/hostile/virtio.h"

enum { kDisk = 1, kDiskSectors = 8192, kSectorBytes = 512 };

/// One sector from or to `data`; the status, once the device has done it.
static uint8_t disk_request(uint32_t type, uint64_t sector, uint64_t data) {
  const uint64_t header = kBuffers, status = kBuffers + 0x8000;
  *(volatile uint32_t*)header = type;
  *(volatile uint64_t*)(header + 8) = sector;
  *(volatile uint8_t*)status = 0xff;
  put_descriptor(kDisk, 0, 0, header, 16, 1, 1);
  put_descriptor(kDisk, 0, 1, data, kSectorBytes, type == 0 ? 1 | 2 : 1, 2);
  put_descriptor(kDisk, 0, 2, status, 1, 2, 0);
  offer(kDisk, 0, 0);
  kick(kDisk, 0);
  const volatile uint16_t* const used = (const volatile uint16_t*)used_of(kDisk, 0);
  while (used[1] != offered[kDisk][0]) __asm__ volatile("pause");
  return *(volatile uint8_t*)status;
}

/// Says "right" for each thousandth sector that it read back; "wrong", and ends, at the first that
/// differs.
static void be_a_good_neighbour(void) {
  const uint64_t written = kBuffers + 0x10000, back = kBuffers + 0x20000;
  int good = start_device(kDisk, 0);
  for (uint64_t round = 0; good; ++round) {
    const uint64_t sector = any() % kDiskSectors;
    for (uint64_t at = 0; at < kSectorBytes; at += 8) *(volatile uint64_t*)(written + at) = any();
    good = disk_request(1, sector, written) == 0 && disk_request(0, sector, back) == 0;
    for (uint64_t at = 0; at < kSectorBytes; at += 8)
      good = good && *(volatile uint64_t*)(written + at) == *(volatile uint64_t*)(back + at);
    if (good && round % 1000 == 0) say("right\n");
  }
  say("wrong\n");
}

#endif
