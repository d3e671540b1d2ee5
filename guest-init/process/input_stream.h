// InputStream: carries what the host sends to a process's standard input (a pipe or terminal).
//
// Flow control: the connection is read only when the process has taken what came before, so at most
// 64 KiB are kept. The host's half-close is the process's end of file; after a reset the process
// keeps waiting, and another connection may be attached. Runs on the loop's thread; the loop
// outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "guest-init/system/poll_loop.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class InputStream {
 public:
  /// `sink`: non-blocking. A terminal stays open at end of file, as Docker leaves it.
  InputStream(PollLoop& loop, base::UniqueFd sink, bool terminal);

  base::Result<void> start();

  /// Takes the host's connection in place of an earlier one. After the end of file, or of the
  /// process, the connection is closed.
  void attach(base::UniqueFd connection);

  /// Closes the connection and the sink: the process is gone, nobody reads any more.
  void process_exited();

 private:
  void on_connection();
  void fill();
  void write_sink();
  void close();
  void update_watches();
  std::size_t buffered() const { return end_ - begin_; }

  PollLoop& loop_;
  base::UniqueFd sink_;
  bool terminal_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool end_of_file_ = false;

  base::UniqueFd connection_;
  PollLoop::Watch connection_watch_;
  PollLoop::Watch sink_watch_;
};

}  // namespace guest_init
