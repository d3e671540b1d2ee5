// Events: what happened, in order, to whoever listens and to a bounded persistent log.
//
// Threads: the io_context thread. Publishing writes nothing: the log in the database gets events in
// batches, at the latest kFlushDelay later and without an fsync, so no operation waits for it; what
// kill -9 may take is those 250 ms.
// Bounds: kLogged events and kLoggedBytes in the database, kRecent and kRecentBytes of them in
// memory too. A listener holds no events but a position; one that falls behind what is in memory is
// served from the database, and loses what is no longer there.
// Spec: Docker Engine API, GET /events.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/state/database.h"
#include "api/engine/state/timestamp.h"

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
  static constexpr std::size_t kRecentBytes = 8u << 20;
  static constexpr std::int64_t kLogged = 8192;
  static constexpr std::int64_t kLoggedBytes = 32 << 20;
  static constexpr std::chrono::milliseconds kFlushDelay{250};

  Events(net::any_io_executor executor, Database& database);
  ~Events();

  /// Reads where the events of earlier runs end, so that numbers go on. Call once, before the first
  /// publish().
  base::Result<void> load();

  /// `event.time` is filled in if it is 0.
  void publish(Event event);

  /// A position in the stream of events, over all runs: the number of the next one.
  using Cursor = std::int64_t;
  static constexpr Cursor kBeginning = 0;
  Cursor now() const { return next_; }
  /// The position behind the last event older than `time`.
  Cursor at(TimeNs time);
  /// The next event at or after `cursor`, which is moved behind it; nullopt if there is none yet.
  std::optional<Event> next(Cursor& cursor);
  /// Completes after the next publish().
  net::awaitable<void> wait() { co_await published_.wait(); }

  /// Writes what is not yet in the database.
  void flush();

 private:
  /// The last events before next_.
  struct Recent {
    std::deque<Event> events;
    std::size_t bytes = 0;
    std::size_t unwritten = 0;  // how many, from their end, are not in the database
  };
  struct Flush {
    explicit Flush(const net::any_io_executor& executor) : timer(executor) {}

    net::steady_timer timer;
    bool scheduled = false;
  };

  Cursor first_recent() const { return next_ - static_cast<Cursor>(recent_.events.size()); }
  std::optional<Event> next_logged(Cursor& cursor);
  void forget_recent();
  void schedule_flush();
  base::Result<void> write_batch();
  base::Result<void> forget_logged();

  Database& database_;
  async::Notifier published_;
  Flush flush_;
  Cursor next_ = 1;
  Recent recent_;
  std::int64_t logged_bytes_ = 0;  // in the database, at most
};

}  // namespace engine
