// Clients: keeps the open connections, and decides which has to make way when there are too many.
//
// Owned by the Server. Threads: the io_context thread. It does no I/O: it decides, the Server acts.
//
// The rules: a connection that waits for a request makes way for any new one. A connection whose
// client is in the middle of sending makes way for a client that has fewer connections, or once
// nothing has come on it for kStalled. A connection that is being served is never ended. If several
// may go, idle ones go first; of those, the one whose user, then whose process, has the most
// connections; of those, the one that has waited longest. A process, and a user other than root,
// has at most three quarters of all places, so that nobody fills them alone.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "api/http/client_id.h"

namespace http {

/// What a connection does at the moment, kept by the connection itself.
struct Activity {
  enum class State {
    kIdle,     // waits for a request
    kHead,     // part of a request's head has come
    kBody,     // waits for more of a request's body
    kServing,  // its request is being served
  };
  using Clock = std::chrono::steady_clock;

  State state = State::kIdle;
  Clock::time_point since = Clock::now();  // of the state, or of the last byte that came in it

  void enter(State next) {
    state = next;
    since = Clock::now();
  }
};

/// How many connections there may be, and how long they may say nothing.
struct ConnectionLimits {
  std::size_t connections = 4096;
  std::size_t crowded = 256;  // with more of them than this, idle ones go sooner
  std::chrono::milliseconds idle = std::chrono::minutes(10);
  std::chrono::milliseconds idle_when_crowded = std::chrono::seconds(30);
};

class Clients {
 public:
  static constexpr std::chrono::seconds kStalled{30};

  struct Entry {
    ClientId client;
    int socket = -1;
    Activity activity{};
    std::function<void()> end{};  // ends the connection; it is removed later, when it has gone
    bool ending = false;
  };
  using Place = std::list<Entry>::iterator;

  explicit Clients(ConnectionLimits limits) : limits_(limits) {}

  Place add(Entry entry);
  void remove(Place place);

  /// Whether a connection of `client` finds a place, possibly by ending another one.
  /// `has_input`: whether something has come on a socket that has not been looked at yet.
  bool make_room(ClientId client, const std::function<bool(int)>& has_input);

  /// Ends what has been idle for too long.
  void end_idle(Activity::Clock::time_point now, const std::function<bool(int)>& has_input);

  void end_all();

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }

 private:
  struct Rank;

  void end(Entry& entry);
  std::size_t held_by(uid_t uid) const;
  std::size_t held_by(ClientId client) const;
  bool has_its_share(ClientId client) const;
  bool may_end(const Entry& entry, ClientId newcomer, Activity::Clock::time_point now) const;
  Rank rank_of(const Entry& entry, Activity::Clock::time_point now) const;
  std::vector<std::pair<Rank, Entry*>> endable(ClientId newcomer, bool own_only,
                                               const std::function<bool(int)>& has_input);

  const ConnectionLimits limits_;
  std::list<Entry> entries_;
  std::size_t open_ = 0;  // those that are not ending
  std::map<uid_t, std::size_t> by_user_;
  std::map<ClientId, std::size_t> by_client_;
};

}  // namespace http
