// UdpRelays: published UDP ports of the machine as ports of this host.
//
// Each port has a socket here. Each peer that sends to it gets a session: one connection to the
// agent, which has a socket of its own for that peer inside, so the container's answers find back.
// A session ends when it has been idle for long, or when its place is needed for another peer.
//
// Threads: one serves all ports, a further one opens connections. offer() may be called by one
// other. Memory: bounded by Limits and by what a session may hold (UdpSession), whatever peers and
// the machine send. Trust: both are hostile.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "vmm/base/event_loop.h"
#include "vmm/emulated/host/relays/agent_opener.h"
#include "vmm/emulated/host/relays/listed_port.h"
#include "vmm/emulated/host/relays/udp_session.h"
#include "vmm/emulated/host/relays/udp_socket.h"

namespace emulated {

class UdpRelays {
 public:
  struct Limits {
    std::size_t sessions = 256;  // of all ports
    std::size_t sessions_of_port = 128;
    /// A session ends after so long without a datagram, as with Docker's proxy.
    std::chrono::milliseconds idle = std::chrono::seconds(90);
    /// A session that has been idle for so long makes room for a new peer, the one that has been
    /// for longest first. Where there is none, the new peer's datagrams are lost.
    std::chrono::milliseconds spare = std::chrono::seconds(2);
  };

  static base::Result<std::unique_ptr<UdpRelays>> start(Endpoint endpoint, Limits limits);
  /// Ends all sessions and closes all ports.
  ~UdpRelays();

  /// Offers these ports and no others; returns when that is so. A port that cannot be had here is
  /// told to the log and left out, until it has been missing in a call.
  void offer(std::set<ListedPort> ports);

 private:
  using Clock = std::chrono::steady_clock;
  struct Port {
    ListedPort listed;
    base::UniqueFd socket;  // invalid: it cannot be had here
    std::size_t sessions = 0;
    bool unreachable = false;  // the agent's last answer was an error
    base::EventLoop::Watch watch = {};
  };
  struct Session {
    std::uint64_t id = 0;
    Port* port = nullptr;
    Flow flow = {};
    Clock::time_point used = {};
    UdpSession carrier = {};
    base::EventLoop::Watch watch = {};
  };
  using Place = std::list<Session>::iterator;
  using Key = std::pair<const Port*, Flow>;

  UdpRelays(Endpoint endpoint, Limits limits, std::unique_ptr<base::EventLoop> loop);
  void run(std::stop_token stop);

  // All on the loop's thread.
  void change(const std::set<ListedPort>& ports);
  void bind(Port& port);
  void end_all(const Port& port);
  void on_datagrams(Port& port);
  /// The session of that flow, a new one if need be; sessions_.end() if there is no room.
  Place session_of(Port& port, const Flow& flow);
  Place begin(Port& port, const Flow& flow);
  /// Whether one more session of `port` may begin; ends an idle one if that helps.
  bool make_room(const Port& port);
  void on_opened(std::uint64_t id, base::Result<base::UniqueFd> socket);
  void on_agent(std::uint64_t id, std::uint32_t events);
  /// Sends what can be sent, and awaits what is needed for the rest.
  void flush(Place session);
  /// It has carried a datagram just now.
  void touch(Place session);
  void end(Place session);
  void end_idle();
  /// Until the next session has been idle for too long.
  int timeout_ms() const;

  const Limits limits_;
  const Endpoint endpoint_;
  std::unique_ptr<base::EventLoop> loop_;
  std::map<ListedPort, Port> ports_;
  std::list<Session> sessions_;  // those that were used last at the end
  std::map<Key, Place> by_flow_;
  std::map<std::uint64_t, Place> by_id_;
  std::uint64_t last_id_ = 0;
  wire::Bytes buffer_;
  AgentOpener opener_;  // after loop_, which its results are posted to
  std::jthread thread_;
};

}  // namespace emulated
