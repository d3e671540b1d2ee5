#include "api/engine/events.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace engine {

namespace {

std::string to_text(const Event& event) {
  const nlohmann::json value{{"type", event.type},
                             {"action", event.action},
                             {"actor", event.actor},
                             {"attributes", event.attributes}};
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Event> from_text(const std::string& text, TimeNs time) {
  const auto value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  Event event{.type = value.value("type", ""),
              .action = value.value("action", ""),
              .actor = value.value("actor", ""),
              .attributes = {},
              .time = time};
  if (const auto found = value.find("attributes"); found != value.end() && found->is_object())
    for (const auto& [key, item] : found->items())
      if (item.is_string()) event.attributes[key] = item.get<std::string>();
  return event;
}

}  // namespace

Events::Events(net::any_io_executor executor, Database& database)
    : database_(database), published_(executor), flush_timer_(executor) {}

Events::~Events() { flush(); }

base::Result<void> Events::load() {
  return database_.run(
      "SELECT time_ns, event FROM (SELECT * FROM events ORDER BY sequence DESC LIMIT 1024) "
      "ORDER BY sequence",
      {}, [this](const Database::Row& row) {
        if (auto event = from_text(row.text(1), row.integer(0)))
          recent_.push_back(*std::move(event));
      });
}

void Events::publish(Event event) {
  if (event.time == 0) event.time = now_ns();
  unwritten_.push_back(event);
  recent_.push_back(std::move(event));
  if (recent_.size() > kRecent) {
    recent_.pop_front();
    ++first_;
  }
  published_.notify_all();
  if (unwritten_.size() >= kRecent) flush();
  if (std::exchange(flush_scheduled_, true)) return;
  flush_timer_.expires_after(kFlushDelay);
  flush_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;  // this object is gone
    flush_scheduled_ = false;
    flush();
  });
}

std::optional<Event> Events::next(Cursor& cursor) const {
  if (cursor < first_) cursor = first_;  // too slow: the oldest ones are gone
  if (cursor >= now()) return std::nullopt;
  return recent_[cursor++ - first_];
}

std::vector<Event> Events::since(TimeNs since, TimeNs until, Cursor& cursor) {
  flush();
  std::vector<Event> found;
  const auto result = database_.run(
      "SELECT time_ns, event FROM events WHERE time_ns >= ? AND time_ns <= ? ORDER BY sequence",
      {since, until == 0 ? INT64_MAX : until}, [&](const Database::Row& row) {
        if (auto event = from_text(row.text(1), row.integer(0))) found.push_back(*std::move(event));
      });
  if (!result) spdlog::error("{}", result.error().message);
  cursor = now();
  return found;
}

void Events::flush() {
  if (unwritten_.empty()) return;
  const auto result = database_.transaction([this]() -> base::Result<void> {
    for (const Event& event : unwritten_)
      RETURN_IF_ERROR(database_.run("INSERT INTO events (time_ns, event) VALUES (?, ?)",
                                    {event.time, to_text(event)}));
    return database_.run(
        "DELETE FROM events WHERE sequence <= (SELECT MAX(sequence) FROM events) - ?", {kLogged});
  });
  if (!result) spdlog::error("event log: {}", result.error().message);
  unwritten_.clear();
}

}  // namespace engine
