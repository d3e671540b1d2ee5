// A container's log as a client sees it: GET containers/{id}/logs, and what attach replays.
//
// Threads: the io_context thread. Memory: one batch of the reader.
#pragma once

#include <cstdint>

#include "api/docker/api.h"
#include "api/http/exchange.h"

namespace docker {

struct LogQuery {
  bool want_stdout = false;
  bool want_stderr = false;
  bool follow = false;
  bool timestamps = false;
  bool details = false;  // the attributes of each line in front of it
  bool raw = false;      // no frames: a terminal's output, or a websocket's
  engine::TimeNs since = INT64_MIN;
  engine::TimeNs until = INT64_MAX;
  std::optional<std::size_t> tail = std::nullopt;
};

/// Writes what the reader has now; false when the client has gone.
net::awaitable<bool> write_log(http::Exchange& exchange, const LogQuery& query,
                               engine::LogReader& reader);

/// GET /containers/{id}/logs
net::awaitable<void> logs(Api& api, http::Exchange& exchange);

}  // namespace docker
