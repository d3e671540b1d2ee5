// LogReader: reads a container's log for one client. A LogCursor does the work, in the log's turns,
// so that no amount of log keeps the io_context thread.
//
// Made by ContainerLog::read(), owned by its client; keeps the log alive. Threads: the io_context
// thread. Whoever awaits it may be cancelled. Memory and trust: see log_cursor.h.
#pragma once

#include <memory>

#include "api/async/net.h"
#include "api/engine/output/log_cursor.h"
#include "vmm/base/result.h"

namespace engine {

class ContainerLog;

class LogReader {
 public:
  ~LogReader();
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  /// Moves to the last `lines` lines. Before the first next_batch().
  net::awaitable<base::Result<void>> seek_to_tail(std::size_t lines);

  /// The next entries; possibly none although there is more.
  net::awaitable<base::Result<LogBatch>> next_batch();

 private:
  friend class ContainerLog;
  LogReader(std::shared_ptr<ContainerLog> log, std::shared_ptr<LogCursor> cursor, bool follow);

  std::shared_ptr<ContainerLog> log_;
  std::shared_ptr<LogCursor> cursor_;
};

}  // namespace engine
