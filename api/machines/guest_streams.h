// GuestStreams: connections to one guest, each through its monitor: those that its template has
// open, and new ones.
//
// Threads: the io_context thread. The MonitorClient is shared with the machine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "api/machines/monitor/guest_session.h"
#include "api/machines/monitor/monitor_client.h"
#include "api/machines/templates/template.h"

namespace engine {

class GuestStreams {
 public:
  GuestStreams(net::any_io_executor executor, std::shared_ptr<MonitorClient> monitor);

  /// Asks the monitor for all connections of the template; `replies` get its answers. kDataLoss if
  /// there is no control stream among them.
  base::Result<void> adopt(const Template& from,
                           std::vector<async::Reply<MonitorClient::Answer>>& replies);

  /// The template's control stream, once.
  StreamSocket take_control() { return *std::exchange(control_, std::nullopt); }
  /// A new control stream. A guest that refuses it shows as the stream's end.
  base::Result<StreamSocket> open_control() { return open(protocol::kControlPort); }
  /// A connection that a SocketOpen is to be sent on.
  base::Result<StreamSocket> open_socket() { return open(protocol::kSocketPort); }
  /// A stream that no StreamOpen was sent on yet: one of the template's while there are any, else a
  /// new connection.
  base::Result<StreamSocket> next();

  /// Closes those of the template's streams that nobody took.
  void close();

 private:
  base::Result<StreamSocket> open(std::uint32_t port);
  StreamSocket socket(base::UniqueFd fd) const;

  net::any_io_executor executor_;
  std::shared_ptr<MonitorClient> monitor_;
  std::optional<StreamSocket> control_;
  std::vector<StreamSocket> spare_;
  std::uint32_t next_tag_;
};

}  // namespace engine
