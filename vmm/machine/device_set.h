// DeviceSet: a machine's devices, each at the virtio-mmio slot that follows from the machine's
// shape, so that any template of that shape fits any container. Files, taps and sockets are
// attached to the devices before the machine runs, files and sockets also while it does.
//
// Threads: the device thread, except what vCPU threads do through the bus.
// Ownership: platform, loop and calls outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "vmm/arch/platform.h"
#include "vmm/base/event_fd.h"
#include "vmm/base/mapped_region.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/block/block.h"
#include "vmm/devices/console/console.h"
#include "vmm/devices/fs/fs.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/pmem/pmem.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/devices/vsock/vsock.h"
#include "vmm/launch/messages.h"
#include "vmm/machine/loop_calls.h"
#include "vmm/virtio/mmio_transport.h"

namespace machine {

class DeviceSet {
 public:
  /// kInvalidArgument: the platform has not enough slots for the devices of this shape.
  static base::Result<void> check_shape(const launch::Shape& shape);

  /// Memory for the register windows of all slots. The guest sees it read-only.
  static base::Result<base::MappedRegion> map_windows(const launch::Shape& shape);

  /// `windows` come from map_windows() and outlive the set and the VM. The shape has been checked.
  static base::Result<std::unique_ptr<DeviceSet>> create(arch::Platform& platform,
                                                         base::EventLoop& loop, LoopCalls& calls,
                                                         std::span<std::byte> windows,
                                                         const launch::Shape& shape);
  ~DeviceSet();

  /// The slots in use, for the machine's description.
  std::vector<std::uint32_t> slots() const;

  devices::BlockDevice& layers() { return layers_; }
  /// kNotFound: the machine has none of this number.
  base::Result<devices::BlockDevice*> disk(std::uint32_t number);
  base::Result<devices::NetDevice*> network_card(std::uint32_t number);
  devices::VsockDevice& vsock() { return vsock_; }
  devices::FsDevice& shares() { return shares_; }
  devices::ConsoleDevice& console() { return console_; }
  const devices::BalloonDevice& balloon() const { return balloon_; }

  /// Makes kicks and acknowledgements stay in the kernel, for the slots from `first` on, one slot
  /// in each turn of the loop. It takes KVM milliseconds, which a clone that must run at once does
  /// not wait for. Of the network cards only the first is among them, as most machines use no
  /// other: keep_kicks_of_card() is for those.
  void keep_kicks_in_kernel(LoopCalls& calls, std::size_t first = 0);
  /// `card` is one that there is.
  void keep_kicks_of_card(LoopCalls& calls, std::uint32_t card);

  /// Starts the disks' thread, on which `prepare` runs first (devices/block/io_worker.h).
  base::Result<void> start_disk_thread(const std::function<base::Result<void>()>& prepare) {
    return worker_->start(prepare);
  }

  /// Finishes what is in flight and keeps all devices from guest memory until resume().
  void pause();
  void resume();
  /// One state per slot. save() only while paused; restore() only before anything else.
  std::vector<std::vector<std::byte>> save() const;
  base::Result<void> restore(const std::vector<std::vector<std::byte>>& states);

  /// How often the guest broke a device's rules.
  std::uint64_t fault_count() const;

 private:
  class Slot;

  DeviceSet(base::EventLoop& loop, std::unique_ptr<devices::IoWorker> worker,
            std::span<std::byte> windows, const launch::Shape& shape,
            devices::PmemDevice::Range layers_window, base::EventFd acknowledged);
  base::Result<void> connect(arch::Platform& platform, base::EventLoop& loop, LoopCalls& calls);
  std::vector<virtio::Device*> in_order();
  void keep_kicks_of_slot(std::size_t slot);

  std::span<std::byte> windows_;  // what the guest reads in the slots, without an exit
  base::EventFd acknowledged_;    // takes acknowledgements of interrupts; nobody reads it
  std::unique_ptr<devices::IoWorker> worker_;
  devices::BlockDevice layers_;
  devices::BlockDevice disk_;
  std::vector<std::unique_ptr<devices::NetDevice>> network_cards_;
  devices::VsockDevice vsock_;
  devices::ConsoleDevice console_;
  devices::RngDevice rng_;
  devices::BalloonDevice balloon_;
  devices::PmemDevice layers_window_;
  devices::FsDevice shares_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace machine
