// PortRelays: published ports of the machine as ports of this host.
//
// The daemon in the machine writes down which ports it publishes; the agent tells whenever that
// changes, and each port gets a listener here (TCP) or a socket (UDP) that leads to it.
//
// Threading: one thread watches; the ports have RelayAcceptor's and UdpRelays'. Trust: the list is
// the machine's, so a port that is in use here, or that this host refuses, is told to the log and
// left out.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "vmm/emulated/host/relays/listed_port.h"
#include "vmm/emulated/host/relays/relay_acceptor.h"
#include "vmm/emulated/host/relays/udp_relays.h"

namespace emulated {

class PortRelays {
 public:
  static constexpr int kMaxConnections = 512;  // of TCP; UdpRelays::Limits has the others

  /// `list`: the file's path in the machine.
  PortRelays(Endpoint endpoint, std::string list);
  ~PortRelays();

 private:
  void watch(std::stop_token stop);
  /// Reads lists from `socket` until it ends.
  void follow(int socket, std::stop_token stop);
  void offer(const std::vector<ListedPort>& ports);
  void offer_tcp(const std::set<ListedPort>& ports);

  Endpoint endpoint_;
  std::string list_;
  std::shared_ptr<RelaySlots> slots_;
  std::map<ListedPort, std::unique_ptr<RelayAcceptor>> tcp_;  // null: it cannot be had here
  std::unique_ptr<UdpRelays> udp_;                            // null: there is none here
  std::jthread watcher_;
};

}  // namespace emulated
