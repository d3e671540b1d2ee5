// ProcessIo: one guest process's streams and its end.
//
// Output: bytes go from the guest's stream to the sink, then are acknowledged to the guest, so no
// more than one buffer per stream is held here. The outcome is set once the sink took all of the
// output (or the stream ended early), never before.
// Threads: io_context thread. Ownership: shared with its pumping coroutines.
// Trust: the guest chooses the bytes, their count and when a stream ends.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "api/async/latch.h"
#include "api/machines/machine.h"
#include "api/machines/monitor/guest_session.h"

namespace engine {

class ProcessIo : public std::enable_shared_from_this<ProcessIo> {
 public:
  using Outcome = base::Result<protocol::ExitStatus>;

  ProcessIo(net::any_io_executor executor, ProcessId id, std::shared_ptr<OutputSink> sink)
      : executor_(executor), id_(id), sink_(std::move(sink)), outcome_(executor) {}

  /// Names `socket` to the guest, with its machine's `secret`, as this process's `stream` and
  /// begins to pump. `offset`: bytes of an output stream that the sink already has.
  void open(protocol::Stream stream, StreamSocket socket, const protocol::Secret& secret,
            std::uint64_t offset = 0);

  /// See Machine.
  net::awaitable<base::Result<void>> write_stdin(std::vector<std::byte> bytes);
  void close_stdin();

  /// The guest reported the exit.
  void exited(protocol::ProcessExited message);
  /// The machine has ended: what has arrived is still delivered, nothing more will come.
  void machine_ended(base::Error why);

  const async::Reply<Outcome>& outcome() const { return outcome_; }

 private:
  struct Output {
    bool ended = true;  // no more will come; also: was never opened
    std::uint64_t taken = 0;
  };

  static net::awaitable<void> pump(std::shared_ptr<ProcessIo> self, protocol::Stream stream,
                                   StreamSocket socket);
  static net::awaitable<base::Result<void>> write(std::shared_ptr<ProcessIo> self,
                                                  std::vector<std::byte> bytes);
  Output& output(protocol::Stream stream) {
    return outputs_[stream == protocol::Stream::kStderr ? 1 : 0];
  }
  void half_close_stdin();
  void finish_if_complete();

  net::any_io_executor executor_;
  ProcessId id_;
  std::shared_ptr<OutputSink> sink_;
  std::array<Output, 2> outputs_;
  std::optional<StreamSocket> stdin_;
  bool stdin_writing_ = false;
  bool stdin_closing_ = false;
  std::optional<protocol::ProcessExited> exited_;
  std::optional<base::Error> machine_ended_;
  async::Reply<Outcome> outcome_;
};

}  // namespace engine
