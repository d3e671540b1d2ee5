// containers/{id}/logs.
#include <spdlog/spdlog.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>

#include "api/docker/streams/log_stream.h"
#include "api/docker/streams/stream_frame.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Exchange;
using protocol::Stream;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

/// Docker shows everything for a tail that is negative or no number ("all").
std::optional<std::size_t> parse_tail(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  std::size_t lines = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), lines);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return lines;
}

Result<LogQuery> parse_log_query(const http::Request& request) {
  LogQuery query{.want_stdout = request.query.get_bool("stdout"),
                 .want_stderr = request.query.get_bool("stderr"),
                 .follow = request.query.get_bool("follow"),
                 .timestamps = request.query.get_bool("timestamps"),
                 .details = request.query.get_bool("details"),
                 .tail = parse_tail(request.query.get_or("tail", "all"))};
  if (!query.want_stdout && !query.want_stderr)
    return Error{Code::kInvalidArgument, "Bad parameters: you must choose at least one stream"};
  const auto since = engine::parse_time(request.query.get_or("since", ""));
  if (!since) return since.error();
  if (*since != 0) query.since = *since;
  const auto until = engine::parse_time(request.query.get_or("until", ""));
  if (!until) return until.error();
  if (*until != 0) query.until = *until;
  return query;
}

/// As Go's url.QueryEscape.
std::string query_escaped(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

/// "env=prod,tag=web ": what Docker puts in front of a line with details=1; a space if there is
/// none.
std::string details_of(const engine::LogEntry& entry) {
  std::string text;
  for (const auto& [key, value] : entry.attributes)
    text += (text.empty() ? "" : ",") + query_escaped(key) + "=" + query_escaped(value);
  return text + " ";
}

/// Appends one log entry as the client gets it, if the query does not leave it out.
void append_entry(std::vector<std::byte>& out, const LogQuery& query,
                  const engine::LogEntry& entry) {
  const bool wanted = entry.stream == Stream::kStderr ? query.want_stderr : query.want_stdout;
  if (!wanted || entry.time < query.since || entry.time > query.until) return;
  std::string text;
  if (query.timestamps) text += engine::format_time_fixed(entry.time) + " ";
  if (query.details) text += details_of(entry);
  text += entry.text;
  const FrameHeader header(entry.stream, text.size());
  for (const auto& part : {header.bytes(query.raw), std::as_bytes(std::span(text))})
    out.insert(out.end(), part.begin(), part.end());
}

net::awaitable<void> follow_log(Exchange& exchange, ContainerPtr container, LogQuery query,
                                engine::LogReader& reader) {
  for (;;) {
    const bool over = !query.follow || !container->state.running() || container->removal.done ||
                      engine::now_ns() > query.until;
    const std::uint64_t seen = container->storage.log->changes();
    const bool alive = co_await write_log(exchange, query, reader);
    if (!alive || over) co_return;
    if (!container->state.running()) continue;  // what it wrote at its end
    if (query.until == INT64_MAX) {
      co_await (container->storage.log->wait_changed(seen) || container->changed.wait());
      continue;
    }
    net::steady_timer until(
        co_await net::this_coro::executor,
        std::chrono::nanoseconds(query.until - engine::now_ns()) + std::chrono::milliseconds(1));
    co_await (container->storage.log->wait_changed(seen) || container->changed.wait() ||
              until.async_wait(async::kTuple));
  }
}

net::awaitable<void> refuse(Exchange& exchange, const Error& error) {
  co_await exchange.respond(http::error_response(error));
}

}  // namespace

net::awaitable<bool> write_log(Exchange& exchange, const LogQuery& query,
                               engine::LogReader& reader) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  for (;;) {
    const auto batch = co_await reader.next_batch();
    if (!batch) {
      spdlog::error("logs: {}", batch.error().message);
      co_return false;
    }
    std::vector<std::byte> bytes;
    for (const engine::LogEntry& entry : batch->entries) append_entry(bytes, query, entry);
    if (!bytes.empty()) {
      const auto written = co_await exchange.write(std::span<const std::byte>(bytes));
      if (!written) co_return false;
    } else if (batch->at_end) {
      co_return true;
    } else {
      co_await net::post(executor, net::use_awaitable);
    }
  }
}

//   200 the log, then what follows · 400 no stream chosen · 404 no such container · 501 not kept
net::awaitable<void> logs(Api& api, Exchange& exchange) {
  auto query = parse_log_query(exchange.request());
  if (!query) co_return co_await refuse(exchange, query.error());
  const auto found = api.containers.find(exchange.request().path_arg("id"));
  if (!found) co_return co_await refuse(exchange, found.error());
  const ContainerPtr container = *found;
  if (!container->storage.log) {
    const Error unreadable{Code::kNotSupported,
                           "configured logging driver does not support reading"};
    co_return co_await refuse(exchange, unreadable);
  }
  query->follow = query->follow && container->state.running();
  const auto reader = co_await container->storage.log->read(query->follow);
  if (!reader) co_return co_await refuse(exchange, reader.error());
  if (query->tail) {
    const auto sought = co_await (*reader)->seek_to_tail(*query->tail);
    if (!sought) co_return co_await refuse(exchange, sought.error());
  }
  query->raw = container->settings.process.tty;
  http::Response head{.content_type = output_type(*container, exchange.request().version)};
  if (query->follow) exchange.end_with_input();
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (begun) co_await follow_log(exchange, container, *query, **reader);
}

}  // namespace docker
