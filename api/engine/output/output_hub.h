// OutputHub: hands a process's output on to the log and to every attached client.
//
// One per container (and one per exec). Threads: the io_context thread; logging is done elsewhere
// (container_log.h), a write at a time for each stream. Memory: each attachment holds at most
// kQueueLimit bytes beyond one write of each stream; a full one makes write() wait, which slows the
// process down, all the way into the guest.
// Lifetime: shared by the machine, the container and its attachments.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/output/container_log.h"
#include "api/machines/machine.h"

namespace engine {

struct OutputChunk {
  protocol::Stream stream = protocol::Stream::kStdout;
  std::span<const std::byte> bytes;
  ContainerLog::Bytes owner;  // of the bytes
};

class OutputHub;

/// One client's view of the output from the moment it attached. Destroying it detaches.
class Attachment {
 public:
  ~Attachment();

  /// The next piece; nullopt when the process has ended and everything was delivered.
  net::awaitable<std::optional<OutputChunk>> next();

 private:
  friend class OutputHub;
  Attachment(std::shared_ptr<OutputHub> hub, bool want_stdout, bool want_stderr);

  std::shared_ptr<OutputHub> hub_;
  bool want_stdout_;
  bool want_stderr_;
  bool ended_ = false;
  std::size_t queued_bytes_ = 0;
  std::deque<OutputChunk> queue_;
  async::Notifier changed_;
};

class OutputHub : public OutputSink, public std::enable_shared_from_this<OutputHub> {
 public:
  static constexpr std::size_t kQueueLimit = 256u << 10;

  explicit OutputHub(net::any_io_executor executor);

  /// From now on the output is logged there too. Once, before the process starts.
  void log_to(std::shared_ptr<ContainerLog> log) { log_ = std::move(log); }

  net::awaitable<void> write(protocol::Stream stream, std::vector<std::byte> bytes) override;
  /// From now on write() gives full attachments more than their limit instead of waiting.
  void hurry() override;
  std::size_t unsafe_bytes(protocol::Stream stream) const override {
    return log_ ? log_->unsafe_bytes(stream) : 0;
  }

  std::unique_ptr<Attachment> attach(bool want_stdout, bool want_stderr);

  /// The process has ended: unfinished lines are logged, then attachments end after what they hold.
  net::awaitable<void> finish();
  /// Attachments end after what they hold.
  void end_attachments();

 private:
  friend class Attachment;
  bool has_room() const;
  void forward(protocol::Stream stream, const ContainerLog::Bytes& bytes, std::size_t from,
               std::size_t size);
  void report(const base::Result<void>& written);

  net::any_io_executor executor_;
  std::shared_ptr<ContainerLog> log_;  // null: nothing is logged
  bool log_failed_ = false;
  bool hurried_ = false;
  std::set<Attachment*> attachments_;
  async::Notifier room_;
};

}  // namespace engine
