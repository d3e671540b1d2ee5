// BlockDevice: virtio block (virtio 1.2, 5.2) on files that may be attached, and taken away again,
// at any time.
//
// The capacity is fixed from boot on and may be larger than what is attached, so that attaching
// files to a clone changes no config. Before the first file, reads give zeros and writes fail.
// After that a request outside of the files fails (VIRTIO_BLK_S_IOERR); on a read-only disk,
// though, the gaps between files read as zeros.
//
// Reads that the page cache can answer, and small writes, are done at once; the rest on the
// IoWorker.
// Threads: the device thread. Ownership: the worker outlives the device; files are the device's.
// Trust: requests are the guest's: wrong ones get an error status, broken rings an Error.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vmm/devices/block/disk_store.h"
#include "vmm/devices/block/io_worker.h"
#include "vmm/virtio/device.h"

namespace devices {

class BlockDevice final : public virtio::Device {
 public:
  struct Settings {
    std::uint64_t capacity_bytes = 0;  // multiple of 512
    bool read_only = false;
    std::string id;  // what GET_ID answers (/sys/block/vdX/serial), at most 20 bytes
  };

  BlockDevice(Settings settings, IoWorker& worker);
  ~BlockDevice() override;

  /// Adds files, ascending. kInvalidArgument, and nothing changes, if one does not fit.
  base::Result<void> attach(std::vector<FileExtent> extents);
  /// Takes away the files that begin in [begin, end). `done` is called on the device thread,
  /// perhaps at once, when no request uses them any more.
  void detach(std::uint64_t begin, std::uint64_t end, std::function<void()> done);

  virtio::DeviceType type() const override { return virtio::DeviceType::kBlock; }
  std::uint64_t offered_features() const override;
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override;
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;
  void pause() override;

 private:
  static constexpr std::array<std::uint16_t, 1> kQueueSizes = {256};

  struct Request;

  base::Result<virtio::Progress> serve();
  Request& take_request();
  base::Result<void> parse(Request& request) const;
  bool try_now(Request& request) const;
  void run(Request& request) const;
  std::uint8_t carry_out(Request& request) const;
  std::uint8_t change_ranges(Request& request) const;
  void submit(Request& request);
  void finish(Request& request);
  void on_worker_done(Request& request);

  Settings settings_;
  IoWorker& worker_;
  std::shared_ptr<const DiskStore> store_;  // null before the first file
  virtio::Queue* queue_ = nullptr;
  virtio::Transport* transport_ = nullptr;
  bool write_through_ = false;                      // the driver does not flush
  std::vector<std::unique_ptr<Request>> requests_;  // all of them: at most one per queue entry
  std::vector<Request*> free_;                      // those that are not in flight
  bool stalled_ = false;  // chains wait in the ring: all requests were in flight when they came
};

}  // namespace devices
