// PortRelays: published ports of the machine as ports of this host.
//
// The daemon in the machine writes down which ports it publishes; the agent tells whenever that
// changes, and each port gets a listener here that leads to it. Only TCP: a datagram has no
// connection that could carry it.
//
// Threading: one thread watches; the listeners have RelayAcceptor's. Trust: the list is the
// machine's, so it may be anything: its length is bounded, and a port that is in use here, or that
// this host refuses, is told to the log and left out.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "vmm/emulated/host/relay_acceptor.h"

namespace emulated {

/// A port of the machine's own address, "0.0.0.0" for all it has.
struct ListedPort {
  std::string address;  // IPv4
  std::uint16_t port = 0;
  friend auto operator<=>(const ListedPort&, const ListedPort&) = default;
};

/// The TCP ports of a list with lines "tcp 0.0.0.0 8080". Lines that are not like that, and ports
/// past the first kMaxListed, are left out.
inline constexpr std::size_t kMaxListed = 4096;
std::vector<ListedPort> parse_ports(std::string_view text);

class PortRelays {
 public:
  static constexpr int kMaxConnections = 512;

  /// `list`: the file's path in the machine.
  PortRelays(Endpoint endpoint, std::string list);
  ~PortRelays();

 private:
  void watch(std::stop_token stop);
  /// Reads lists from `socket` until it ends.
  void follow(int socket, std::stop_token stop);
  void offer(const std::vector<ListedPort>& ports);

  Endpoint endpoint_;
  std::string list_;
  std::shared_ptr<RelaySlots> slots_;
  std::map<ListedPort, std::unique_ptr<RelayAcceptor>> relays_;  // null: it cannot be had here
  std::jthread watcher_;
};

}  // namespace emulated
