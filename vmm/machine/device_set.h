// DeviceSet: the devices every machine has, each at its fixed virtio-mmio slot, so that any
// template fits any container. Backends are attached to them before the machine runs, or later.
//
// Threads: the device thread, except what vCPU threads do through the bus.
// Ownership: platform, loop and calls outlive it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "vmm/arch/platform.h"
#include "vmm/devices/balloon.h"
#include "vmm/devices/block.h"
#include "vmm/devices/console.h"
#include "vmm/devices/net.h"
#include "vmm/devices/rng.h"
#include "vmm/devices/vsock.h"
#include "vmm/machine/loop_calls.h"
#include "vmm/virtio/mmio_transport.h"

namespace machine {

class DeviceSet {
 public:
  static base::Result<std::unique_ptr<DeviceSet>> create(arch::Platform& platform,
                                                         base::EventLoop& loop, LoopCalls& calls);
  ~DeviceSet();

  /// The slots in use, for the machine's description.
  std::vector<std::uint32_t> slots() const;

  devices::BlockDevice& layers() { return layers_; }
  devices::BlockDevice& disk() { return disk_; }
  devices::NetDevice& net() { return net_; }
  devices::VsockDevice& vsock() { return vsock_; }
  devices::ConsoleDevice& console() { return console_; }
  const devices::BalloonDevice& balloon() const { return balloon_; }

  void pause();
  void resume();
  /// One state per slot, only while paused; restore only before anything else.
  std::vector<std::vector<std::byte>> save() const;
  base::Result<void> restore(const std::vector<std::vector<std::byte>>& states);

  /// How often the guest broke a device's rules.
  std::uint64_t fault_count() const;

 private:
  class Slot;

  DeviceSet(base::EventLoop& loop, std::unique_ptr<devices::IoWorker> worker);
  base::Result<void> connect(arch::Platform& platform, base::EventLoop& loop, LoopCalls& calls);

  std::unique_ptr<devices::IoWorker> worker_;
  devices::BlockDevice layers_;
  devices::BlockDevice disk_;
  devices::NetDevice net_;
  devices::VsockDevice vsock_;
  devices::ConsoleDevice console_;
  devices::RngDevice rng_;
  devices::BalloonDevice balloon_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace machine
