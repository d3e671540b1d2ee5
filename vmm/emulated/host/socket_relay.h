// SocketRelay: a unix socket on this host whose connections lead to a unix socket in the machine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "vmm/emulated/link/agent_client.h"

namespace emulated {

/// Threading: accepts on a thread of its own, one more thread per connection (at most
/// kMaxConnections; more wait in the listen queue). Destroying it removes the socket and stops
/// accepting; open connections end with the process.
class SocketRelay {
 public:
  static constexpr int kMaxConnections = 512;

  /// Listens on `path` (0600, an old socket there is replaced) and forwards to `target` inside.
  static base::Result<std::unique_ptr<SocketRelay>> start(std::filesystem::path path,
                                                          Endpoint endpoint, std::string target);
  ~SocketRelay();

 private:
  SocketRelay(std::filesystem::path path, base::UniqueFd listener, Endpoint endpoint,
              std::string target);
  void accept_loop(std::stop_token stop);

  std::filesystem::path path_;
  base::UniqueFd listener_;
  Endpoint endpoint_;
  std::string target_;
  std::jthread acceptor_;
};

}  // namespace emulated
