// FsDevice: virtio file system (virtio 1.2, 5.11). It carries FUSE requests of the guest to a file
// server on the host, and the server's replies back; what they say, the server alone reads.
//
// The server is another process, behind a stream socket (vmm/launch/file_server.h) that is attached
// once. Without it, and after its end, each request fails with ENOTCONN.
// Backpressure: while the socket is full nothing is taken from the queues.
// Threads: the device thread. Ownership: the loop outlives it.
// Trust: requests are the guest's. Their headers are copied before they are checked, and each
// request is as long as it says, so the stream stays a sequence of requests. The server, which the
// guest may have taken over, is not believed either: a reply that answers nothing ends the
// connection, one that does not fit is replaced by EIO.
// Spec: linux/fuse.h for both headers.
#pragma once

#include <linux/fuse.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace devices {

class FsDevice final : public virtio::Device {
 public:
  /// What the guest mounts it by.
  static constexpr std::string_view kTag = "shares";
  /// In bytes: a megabyte of data, with what describes it.
  static constexpr std::size_t kMostRequest = (1u << 20) + 4096;

  explicit FsDevice(base::EventLoop& loop);
  ~FsDevice() override;

  /// Connects the file server, once: kConflict if there is, or was, one.
  base::Result<void> attach(base::UniqueFd server);

  virtio::DeviceType type() const override { return virtio::DeviceType::kFs; }
  std::uint64_t offered_features() const override { return 0; }
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  /// Ends the connection if requests are in flight: their replies would have nowhere to go.
  void reset() override;
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;
  void pause() override { paused_ = true; }
  void resume() override;

 private:
  struct Request;

  static constexpr std::array<std::uint16_t, 2> kQueueSizes = {64, 256};  // urgent, others
  static constexpr std::size_t kNobody = ~std::size_t{0};

  struct Server {
    base::UniqueFd fd;
    base::EventLoop::Watch watch;
    bool attached = false;  // for good, also when it is gone
    bool readable = false;  // set by an event, cleared when a read finds nothing
    bool writable = true;
    bool hung_up = false;
  };
  /// What came from the server and belongs to no request yet. The rest of a long reply goes
  /// directly into the guest's memory.
  struct Inbox {
    std::size_t size() const { return end - begin; }

    std::array<std::byte, 4096> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  /// The reply that is being read.
  struct Reply {
    std::size_t request = kNobody;
    std::size_t left = 0;  // bytes that the server still has to send
    fuse_out_header header{};
  };

  // guest -> server
  base::Result<bool> take(virtio::QueueIndex queue);
  Request& free_request();
  base::Result<void> accept(Request& request);
  bool send(Request& request);
  std::span<iovec> unsent(Request& request);
  void go_on_sending();
  void serve_queues();

  // server -> guest
  void on_server(std::uint32_t events);
  void receive();
  bool receive_step();
  bool begin_reply();
  bool continue_reply();
  bool fill_inbox();
  std::size_t read_server(std::span<const iovec> parts);

  void fail(Request& request, int error_number);
  void finish(Request& request, std::uint32_t written);
  void disconnect();
  void announce();

  base::EventLoop& loop_;
  Server server_;
  std::span<virtio::Queue* const> queues_;
  virtio::Transport* transport_ = nullptr;
  bool paused_ = false;
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<std::size_t> free_;  // places in requests_
  std::size_t sending_ = kNobody;  // the request of which the server has a part only
  std::vector<iovec> parts_;
  Inbox inbox_;
  Reply reply_;
  base::EventLoop::Deferred receive_later_;
};

}  // namespace devices
