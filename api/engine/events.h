// Events: what happened, in order, to whoever listens and to a bounded persistent log.
//
// Threads: the io_context thread. Memory: the last kRecent events; a listener that falls further
// behind loses the oldest ones. The log in the database keeps kLogged; it is written in batches (at
// the latest kFlushDelay after the event), because an event must not cost a transaction.
// Spec: Docker Engine API, GET /events.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/database.h"
#include "api/engine/timestamp.h"

namespace engine {

struct Event {
  std::string type;    // "container", "image", "network", "volume", "daemon"
  std::string action;  // "start", "exec_create: sh"
  std::string actor;   // id of the object
  std::map<std::string, std::string> attributes;
  TimeNs time = 0;
};

class Events {
 public:
  static constexpr std::size_t kRecent = 1024;
  static constexpr std::int64_t kLogged = 8192;
  static constexpr std::chrono::milliseconds kFlushDelay{250};

  Events(net::any_io_executor executor, Database& database);
  ~Events();

  /// Reads the log of earlier runs. Call once, before the first publish().
  base::Result<void> load();

  /// `event.time` is filled in if it is 0.
  void publish(Event event);

  /// A position in the stream of events.
  using Cursor = std::uint64_t;
  Cursor now() const { return first_ + recent_.size(); }
  /// The next event at or after `cursor`, which is moved behind it; nullopt if there is none yet.
  std::optional<Event> next(Cursor& cursor) const;
  /// Completes after the next publish().
  net::awaitable<void> wait() { co_await published_.wait(); }

  /// Logged events with since <= time, and time <= until unless that is 0; and the cursor behind
  /// them.
  std::vector<Event> since(TimeNs since, TimeNs until, Cursor& cursor);

  /// Writes what is not yet in the database.
  void flush();

 private:
  Database& database_;
  async::Notifier published_;
  net::steady_timer flush_timer_;
  bool flush_scheduled_ = false;
  std::deque<Event> recent_;
  Cursor first_ = 0;  // of recent_.front()
  std::vector<Event> unwritten_;
};

}  // namespace engine
