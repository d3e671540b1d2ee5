// SocketRelay: a unix socket on this host whose connections lead to a unix socket in the machine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "vmm/emulated/host/relays/relay_acceptor.h"

namespace emulated {

/// Threading: RelayAcceptor's. Destroying the relay removes the socket and stops accepting; open
/// connections end with the process.
class SocketRelay {
 public:
  static constexpr int kMaxConnections = 512;

  /// Listens on `path` (0600; an old socket there is replaced) and forwards each connection to the
  /// socket `target` in the machine. kInvalidArgument: the path is too long for a socket.
  static base::Result<std::unique_ptr<SocketRelay>> start(std::filesystem::path path,
                                                          Endpoint endpoint, std::string target);
  ~SocketRelay();

 private:
  SocketRelay(std::filesystem::path path, base::UniqueFd listener, Endpoint endpoint,
              std::string target);

  std::filesystem::path path_;
  RelayAcceptor acceptor_;
};

}  // namespace emulated
