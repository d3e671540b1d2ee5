// ContainerLogs: opens the logs of containers, and begins what each run of one logs.
//
// Threads: the io_context thread; the logs' own work is done on threads that this owns. It outlives
// every log. Errors: those of log_settings.h.
#pragma once

#include <optional>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/engine/container/container.h"

namespace engine {

class ContainerLogs {
 public:
  explicit ContainerLogs(net::any_io_executor executor) : executor_(std::move(executor)) {}

  /// Gives the container the log that its settings ask for.
  void open(Container& container);

  /// Its output goes to the log, from the start of a run or (`resumed`) from where an earlier
  /// daemon left it: then the answer says where that is, if it is known.
  net::awaitable<base::Result<std::optional<LogPosition::Streams>>> begin(ContainerPtr container,
                                                                          bool resumed);

 private:
  net::any_io_executor executor_;
  // Of their own: an upload may keep the shared threads for as long as its client likes. Those that
  // print much get what others leave of the processors.
  static constexpr int kBulkNice = 15;
  async::BlockingPool prompt_{2};
  async::BlockingPool bulk_{2, kBulkNice};
};

}  // namespace engine
