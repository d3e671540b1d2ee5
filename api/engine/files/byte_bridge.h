// Bridges between a guest's stream, which is asynchronous, and the image store or libarchive, which
// block: a socket pair with a coroutine of the io_context thread at one end and a thread of
// the pool `streams` at the other. What one side does not take, the other does not give: memory
// stays bounded.
//
// Lifetime: the coroutine side is owned by the coroutine that pumps, the blocking side by the call.
// When either side ends, the other sees the end of the stream or a broken pipe.
#pragma once

#include <atomic>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "api/async/byte_pipe.h"
#include "api/async/net.h"
#include "images/store/streams/byte_source.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

struct ByteBridge {
  net::local::stream_protocol::socket coroutine_side;
  base::UniqueFd blocking_side;

  static base::Result<ByteBridge> make(const net::any_io_executor& executor);
};

/// Writes to the blocking side; a coroutine that is gone is kUnavailable, not a signal.
class BridgeSink : public images::ByteSink {
 public:
  explicit BridgeSink(int socket) : socket_(socket) {}
  base::Result<void> write(std::span<const std::byte> bytes) override;

 private:
  int socket_;
};

/// Reads the blocking side. The stream's end is an Error (kUnavailable, `otherwise`) unless the
/// writer has set `whole`: a stream that breaks off must not pass for a whole one. `stop` is
/// requested when nobody waits any more for what is made of the stream.
class WholeSource final : public images::ByteSource {
 public:
  WholeSource(int socket, const std::atomic<bool>& whole, std::string otherwise,
              std::stop_token stop)
      : socket_(socket), whole_(whole), otherwise_(std::move(otherwise)), stop_(std::move(stop)) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;
  std::stop_token stop_token() const override { return stop_; }

 private:
  images::FdSource socket_;
  const std::atomic<bool>& whole_;
  const std::string otherwise_;
  const std::stop_token stop_;
};

/// Passes the frames for the files tool that come out of the bridge on to the pipe, and finishes
/// the pipe.
net::awaitable<void> pump_frames(net::local::stream_protocol::socket from,
                                 std::shared_ptr<async::BytePipe> into);

}  // namespace engine
