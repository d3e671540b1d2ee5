// RelayAcceptor: leads the connections of a listening socket of this host into the machine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "vmm/emulated/link/agent_client.h"

namespace emulated {

/// How many connections may be open at once; several acceptors can share it.
class RelaySlots {
 public:
  explicit RelaySlots(int most) : most_(most) {}
  bool full() const { return open_ >= most_; }
  void take() { ++open_; }
  void give_back() { --open_; }

 private:
  const int most_;
  std::atomic<int> open_{0};
};

/// Threading: one thread accepts, and each connection has one more; where all slots are taken,
/// further connections wait in the listen queue. Destroying the acceptor closes the listener; open
/// connections go on to their end, or that of the process.
class RelayAcceptor {
 public:
  /// The request that opens the machine's side of a connection: OpenUnix or OpenTcp, with this
  /// name. Called on connections' threads.
  using Request = std::function<wire::Bytes(std::uint64_t name)>;

  RelayAcceptor(base::UniqueFd listener, Endpoint endpoint, std::shared_ptr<RelaySlots> slots,
                Request request);
  ~RelayAcceptor();

 private:
  void accept_loop(std::stop_token stop);

  base::UniqueFd listener_;
  Endpoint endpoint_;
  std::shared_ptr<RelaySlots> slots_;
  Request request_;
  std::jthread acceptor_;
};

}  // namespace emulated
