// Opening connections to the agent for whoever uses this host's relays.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "vmm/emulated/link/agent_client.h"

namespace emulated {

/// Opens a connection to the agent, one of this process at a time, and tries again if it is reset
/// before the agent has answered: QEMU's port forwarding listens with a backlog of one, so
/// connections that come at once are lost. Nothing of the client's has been sent by then. Any
/// thread; blocks until `deadline`.
base::Result<base::UniqueFd> open_inside(const Endpoint& endpoint, const wire::Bytes& request,
                                         Deadline deadline);

/// AgentOpener: open_inside() for those who must not block.
///
/// Threads: it has one, which opens connections in the order asked for and calls `done`. open() may
/// be called by any. Memory: at most `most` wait. Destroying it waits for the one that is being
/// opened, at most kTimeout; the others are forgotten, their `done` is not called.
class AgentOpener {
 public:
  static constexpr auto kTimeout = std::chrono::seconds(10);
  using Done = std::function<void(base::Result<base::UniqueFd>)>;

  AgentOpener(Endpoint endpoint, std::size_t most);
  ~AgentOpener();

  /// False if too many wait; `done` is not called then.
  bool open(wire::Bytes request, Done done);

 private:
  struct Job {
    wire::Bytes request;
    Done done;
  };
  void run(std::stop_token stop);

  const Endpoint endpoint_;
  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Job> waiting_;  // guarded by mutex_
  std::jthread opener_;
};

}  // namespace emulated
