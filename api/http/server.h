// Server: listens on a unix socket and serves every connection with one Router.
//
// Threading: the io_context thread. The Router must outlive the Server. How many connections may be
// open at once, how long they may be idle, and which makes way for a new one: clients.h. A new one
// for which there is no room gets 503 and is closed.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "api/async/net.h"
#include "api/http/clients.h"
#include "api/http/connection.h"
#include "api/http/router.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace http {

/// A listening unix socket at `path`, mode 0660. A socket file that nobody listens on any more is
/// replaced; kAlreadyExists if somebody does, kInvalidArgument if the path is too long (107 bytes).
base::Result<base::UniqueFd> listen_unix(const std::filesystem::path& path);

class Server {
 public:
  struct Options {
    ConnectionLimits limits{};
    Timeouts timeouts{};
    std::string fixed_headers{};  // complete header lines for every response
  };

  Server(net::any_io_executor executor, const Router& router, Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Begins to accept on `listener` (AF_UNIX, listening).
  base::Result<void> start(base::UniqueFd listener);

  /// Serves one already connected socket (tests, socket activation).
  void adopt(base::UniqueFd socket);

  /// Accepts no more and cancels every handler; completes when the last connection has ended.
  net::awaitable<void> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace http
