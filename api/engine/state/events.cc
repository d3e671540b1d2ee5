#include "api/engine/state/events.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/state/stored_fields.h"

namespace engine {

namespace {

/// No daemon publishes that many events: a row with a higher number is damaged.
constexpr Events::Cursor kMostNumbered = Events::Cursor{1} << 56;

std::string to_text(const Event& event) {
  const nlohmann::json value{{"type", event.type},
                             {"action", event.action},
                             {"actor", event.actor},
                             {"attributes", event.attributes}};
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Reads a row; nullopt if it is damaged.
std::optional<Event> from_text(const std::string& text, TimeNs time) {
  const nlohmann::json value = stored_json(text);
  Event event;
  event.time = time;
  StoredFields fields(value, "event");
  fields.read("type", event.type);
  fields.read("action", event.action);
  fields.read("actor", event.actor);
  fields.read("attributes", event.attributes);
  if (fields.damage().empty()) return event;
  spdlog::warn("event log: {}", fields.damage());
  return std::nullopt;
}

/// About what an event takes in memory.
std::size_t size_of(const Event& event) {
  std::size_t size = sizeof event + event.type.size() + event.action.size() + event.actor.size();
  for (const auto& [key, value] : event.attributes) size += key.size() + value.size() + 96;
  return size;
}

}  // namespace

Events::Events(net::any_io_executor executor, Database& database)
    : database_(database), published_(executor), flush_(executor) {}

Events::~Events() { flush(); }

base::Result<void> Events::load() {
  Cursor last = 0;
  const auto take = [&](const Database::Row& row) { last = std::max(last, row.integer(0)); };
  RETURN_IF_ERROR(database_.run("SELECT seq FROM sqlite_sequence WHERE name = 'events'", {}, take));
  RETURN_IF_ERROR(database_.run("SELECT MAX(sequence) FROM events", {}, take));
  if (last > kMostNumbered) {
    spdlog::error("event log: the last event has the number {}: the log begins anew", last);
    RETURN_IF_ERROR(database_.run("DELETE FROM events"));
    RETURN_IF_ERROR(database_.run("DELETE FROM sqlite_sequence WHERE name = 'events'"));
    last = 0;
  }
  next_ = last + 1;
  return database_.run("SELECT SUM(LENGTH(CAST(event AS BLOB))) FROM events", {},
                       [this](const Database::Row& row) { logged_bytes_ = row.integer(0); });
}

void Events::publish(Event event) {
  if (event.time == 0) event.time = now_ns();
  recent_.bytes += size_of(event);
  recent_.events.push_back(std::move(event));
  ++next_;
  ++recent_.unwritten;
  forget_recent();
  published_.notify_all();
  schedule_flush();
}

/// What goes from memory is in the database before.
void Events::forget_recent() {
  while (recent_.events.size() > 1 &&
         (recent_.events.size() > kRecent || recent_.bytes > kRecentBytes)) {
    if (recent_.unwritten == recent_.events.size()) flush();
    recent_.bytes -= size_of(recent_.events.front());
    recent_.events.pop_front();
  }
}

void Events::schedule_flush() {
  if (std::exchange(flush_.scheduled, true)) return;
  flush_.timer.expires_after(kFlushDelay);
  flush_.timer.async_wait([this](const boost::system::error_code& error) {
    if (error) return;  // this object is gone
    flush_.scheduled = false;
    flush();
  });
}

Events::Cursor Events::at(TimeNs time) {
  flush();
  Cursor last_older = 0;
  const auto found = database_.run("SELECT MAX(sequence) FROM events WHERE time_ns < ?", {time},
                                   [&](const Database::Row& row) { last_older = row.integer(0); });
  if (!found) spdlog::error("event log: {}", found.error().message);
  return last_older + 1;
}

std::optional<Event> Events::next(Cursor& cursor) {
  if (cursor >= next_) return std::nullopt;
  while (cursor < first_recent())
    if (auto event = next_logged(cursor)) return event;
  if (cursor >= next_) return std::nullopt;  // nothing was logged, and nothing has come since
  return recent_.events[static_cast<std::size_t>(cursor++ - first_recent())];
}

std::optional<Event> Events::next_logged(Cursor& cursor) {
  std::optional<Event> event;
  const Cursor before = cursor;
  const auto found = database_.run(
      "SELECT sequence, time_ns, event FROM events WHERE sequence >= ? AND sequence < ? "
      "ORDER BY sequence LIMIT 1",
      {cursor, first_recent()}, [&](const Database::Row& row) {
        cursor = row.integer(0) + 1;
        event = from_text(row.text(2), row.integer(1));
      });
  if (!found) spdlog::error("event log: {}", found.error().message);
  if (cursor == before) cursor = first_recent();  // those before are no longer there
  return event;
}

void Events::flush() {
  if (recent_.unwritten == 0) return;
  const auto result = database_.transaction([this] { return write_batch(); });
  // An event that cannot be logged is lost for later runs; nobody waits for a full disk.
  if (!result) spdlog::error("event log: {}", result.error().message);
  recent_.unwritten = 0;
}

base::Result<void> Events::write_batch() {
  for (std::size_t i = recent_.events.size() - recent_.unwritten; i < recent_.events.size(); ++i) {
    const std::string text = to_text(recent_.events[i]);
    logged_bytes_ += static_cast<std::int64_t>(text.size());
    const Cursor number = first_recent() + static_cast<Cursor>(i);
    RETURN_IF_ERROR(database_.run("INSERT INTO events (sequence, time_ns, event) VALUES (?, ?, ?)",
                                  {number, recent_.events[i].time, text}));
  }
  return forget_logged();
}

base::Result<void> Events::forget_logged() {
  RETURN_IF_ERROR(database_.run("DELETE FROM events WHERE sequence < ?", {next_ - kLogged}));
  if (logged_bytes_ <= kLoggedBytes) return {};
  // A quarter more than it must be, so that this is seldom.
  RETURN_IF_ERROR(database_.run(
      "DELETE FROM events WHERE sequence <= (SELECT MAX(sequence) FROM (SELECT sequence, "
      "SUM(LENGTH(CAST(event AS BLOB))) OVER (ORDER BY sequence DESC) AS newer FROM events) "
      "WHERE newer > ?)",
      {kLoggedBytes * 3 / 4}));
  return database_.run("SELECT SUM(LENGTH(CAST(event AS BLOB))) FROM events", {},
                       [this](const Database::Row& row) { logged_bytes_ = row.integer(0); });
}

}  // namespace engine
