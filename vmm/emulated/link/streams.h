// Source and Sink: the two ends of a flow-controlled stream of a StartExec connection (messages.h).
//
// Threading: one thread, with a poll loop: the owner polls fd() while wants_*() holds and calls
// on_ready() when it is ready. Descriptors may be blocking ones, since a terminal shared with
// others must not be made non-blocking: they are used only when poll said so, and in small pieces.
// Ownership: each owns its descriptor. Memory: at most kWindow bytes wait in a Sink.
#pragma once

#include <deque>

#include "vmm/base/unique_fd.h"
#include "vmm/emulated/link/channel.h"

namespace emulated {

/// Reads a local descriptor and sends its bytes.
class Source {
 public:
  /// An invalid `fd` is a stream that is closed from the start.
  Source(StreamName name, base::UniqueFd fd) : name_(name), fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  bool open() const { return fd_.valid(); }
  bool wants_to_read() const { return open() && credit_ > 0; }
  /// Sends at most one chunk; at the end of file sends Close and closes the descriptor.
  void on_ready(Channel& channel);
  /// The receiver passed on `bytes`; kDataLoss if it was never sent that much.
  base::Result<void> on_credit(std::size_t bytes);
  /// The receiver wants no more: closes the descriptor.
  void on_close() { fd_.reset(); }

 private:
  StreamName name_;
  base::UniqueFd fd_;
  std::size_t credit_ = kWindow;
};

/// Receives bytes and writes them to a local descriptor.
class Sink {
 public:
  Sink(StreamName name, base::UniqueFd fd) : name_(name), fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  bool open() const { return fd_.valid(); }
  bool wants_to_write() const { return open() && !pending_.empty(); }
  /// Whether everything received has been written, or nobody reads it any more.
  bool drained() const { return !open() || pending_.empty(); }
  /// kDataLoss if the sender exceeded its window.
  base::Result<void> on_data(const wire::Bytes& bytes, Channel& channel);
  /// A byte of this side's own, behind all that was received: the sender gets no Credit for it.
  /// Nothing may be received afterwards.
  void add_own(std::byte byte);
  /// End of file: closes the descriptor once everything is written.
  void on_close();
  /// Writes a piece and returns Credit for it.
  void on_ready(Channel& channel);

 private:
  StreamName name_;
  base::UniqueFd fd_;
  /// Of so many bytes that are no longer pending, the sender's.
  std::uint32_t senders(std::size_t bytes);

  std::deque<std::byte> pending_;
  std::size_t own_ = 0;  // of the last pending bytes
  bool ended_ = false;
};

}  // namespace emulated
