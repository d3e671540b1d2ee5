// containers/{id}/attach, logs, wait.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/detach_keys.h"
#include "api/docker/stream_frame.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Exchange;
using http::Response;
using http::Status;
using nlohmann::json;
using protocol::Stream;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

/// The content type of a container's output. Before 1.42 it was always raw-stream.
std::string content_type_of(const engine::Container& container, http::ApiVersion version) {
  const bool multiplexed = !container.settings.tty() && version >= http::ApiVersion{1, 42};
  return std::string(multiplexed ? kMultiplexedStream : kRawStream);
}

// --- wait -----------------------------------------------------------------------------------

Result<engine::WaitCondition> parse_condition(const std::string& text) {
  if (text.empty() || text == "not-running") return engine::WaitCondition::kNotRunning;
  if (text == "next-exit") return engine::WaitCondition::kNextExit;
  if (text == "removed") return engine::WaitCondition::kRemoved;
  return Error{Code::kInvalidArgument, "invalid condition: \"" + text.substr(0, 64) + "\""};
}

// POST /containers/{id}/wait
//   200 at once, the body when the condition holds · 400 bad condition · 404 no such container
net::awaitable<void> wait(Api& api, Exchange& exchange) {
  const auto condition = parse_condition(exchange.request().query.get_or("condition", ""));
  const auto container = api.containers.find(exchange.request().path_arg("id"));
  if (!condition || !container) {
    const Error& error = condition ? container.error() : condition.error();
    co_await exchange.respond(http::error_response(error));
    co_return;
  }
  // The client starts the container once it has our headers: remember now what it waits for.
  const std::uint64_t exits = (*container)->exits;
  Response head{.content_type = "application/json"};
  exchange.end_with_input();
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const engine::WaitResult result = co_await api.containers.wait(*container, *condition, exits);
  json answer{{"StatusCode", result.exit_code}};
  if (!result.error.empty()) answer["Error"] = {{"Message", result.error}};
  const std::string text = http::dump_json(answer) + "\n";
  co_await exchange.write(std::string_view(text));
}

// --- logs -----------------------------------------------------------------------------------

struct LogQuery {
  bool want_stdout = false;
  bool want_stderr = false;
  bool follow = false;
  bool timestamps = false;
  bool raw = false;  // a terminal's output has no frames
  engine::TimeNs since = 0;
  engine::TimeNs until = INT64_MAX;
  std::optional<std::size_t> tail = std::nullopt;
};

Result<LogQuery> parse_log_query(const http::Request& request) {
  LogQuery query{.want_stdout = request.query.get_bool("stdout"),
                 .want_stderr = request.query.get_bool("stderr"),
                 .follow = request.query.get_bool("follow"),
                 .timestamps = request.query.get_bool("timestamps")};
  if (!query.want_stdout && !query.want_stderr)
    return Error{Code::kInvalidArgument, "Bad parameters: you must choose at least one stream"};
  const auto since = engine::parse_time(request.query.get_or("since", ""));
  if (!since) return since.error();
  query.since = *since;
  const auto until = engine::parse_time(request.query.get_or("until", ""));
  if (!until) return until.error();
  if (*until != 0) query.until = *until;
  const std::string tail = request.query.get_or("tail", "all");
  std::size_t lines = 0;
  const auto parsed = std::from_chars(tail.data(), tail.data() + tail.size(), lines);
  // Docker shows everything for a tail that is no number ("all", "-1").
  if (parsed.ec == std::errc() && parsed.ptr == tail.data() + tail.size()) query.tail = lines;
  return query;
}

/// One log entry as the client gets it; empty if the query leaves it out.
std::vector<std::byte> log_frame(const LogQuery& query, const engine::LogEntry& entry) {
  const bool wanted = entry.stream == Stream::kStderr ? query.want_stderr : query.want_stdout;
  if (!wanted || entry.time < query.since || entry.time > query.until) return {};
  std::string text = query.timestamps ? engine::format_time_fixed(entry.time) + " " : "";
  text += entry.text;
  return frame(entry.stream, std::as_bytes(std::span(text)), query.raw);
}

/// Writes what the log has now; false when the client has gone.
net::awaitable<bool> write_log(Exchange& exchange, const LogQuery& query,
                               engine::JsonLogReader& reader) {
  constexpr std::size_t kBatch = 64u << 10;
  std::vector<std::byte> batch;
  for (;;) {
    const auto entry = reader.next();
    if (entry && *entry) {
      const std::vector<std::byte> bytes = log_frame(query, **entry);
      batch.insert(batch.end(), bytes.begin(), bytes.end());
    }
    const bool at_end = !entry || !*entry;
    if (at_end || batch.size() >= kBatch) {
      const auto written = co_await exchange.write(std::span<const std::byte>(batch));
      if (!written) co_return false;
      batch.clear();
    }
    if (at_end) co_return true;
  }
}

net::awaitable<void> follow_log(Exchange& exchange, ContainerPtr container, LogQuery query,
                                engine::JsonLogReader reader) {
  for (;;) {
    // Asked before reading: what is logged while we read is seen by the next round.
    const std::shared_ptr<engine::OutputHub> hub = container->output;
    const bool over = !query.follow || !container->state.running() || container->removed ||
                      engine::now_ns() > query.until;
    const bool alive = co_await write_log(exchange, query, reader);
    if (!alive || over) co_return;
    if (hub != container->output || !container->state.running()) continue;
    if (query.until == INT64_MAX) {
      co_await (hub->wait_logged() || container->changed.wait());
      continue;
    }
    net::steady_timer until(
        co_await net::this_coro::executor,
        std::chrono::nanoseconds(query.until - engine::now_ns()) + std::chrono::milliseconds(1));
    co_await (hub->wait_logged() || container->changed.wait() || until.async_wait(async::kTuple));
  }
}

// GET /containers/{id}/logs
//   200 the log, then what follows · 400 no stream chosen · 404 no such container
net::awaitable<void> logs(Api& api, Exchange& exchange) {
  const auto container = api.containers.find(exchange.request().path_arg("id"));
  if (!container) {
    co_await exchange.respond(http::error_response(container.error()));
    co_return;
  }
  auto query = parse_log_query(exchange.request());
  if (query && !(*container)->settings.logs())
    query = Error{Code::kInvalidArgument, "configured logging driver does not support reading"};
  engine::JsonLogReader reader((*container)->log_path());
  if (query && query->tail) {
    const auto sought = reader.seek_to_tail(*query->tail);
    if (!sought) query = sought.error();
  }
  if (!query) {
    co_await exchange.respond(http::error_response(query.error()));
    co_return;
  }
  query->raw = (*container)->settings.tty();
  Response head{.content_type = content_type_of(**container, exchange.request().version)};
  if (query->follow) exchange.end_with_input();
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (begun) co_await follow_log(exchange, *container, *query, std::move(reader));
}

// --- attach ---------------------------------------------------------------------------------

struct AttachQuery {
  bool stream = false;
  bool want_stdin = false;
  bool want_stdout = false;
  bool want_stderr = false;
  bool logs = false;
  DetachKeys detach_keys;
};

Result<AttachQuery> parse_attach_query(const http::Request& request) {
  auto keys = DetachKeys::parse(request.query.get_or("detachKeys", ""));
  if (!keys) return std::move(keys).error();
  return AttachQuery{.stream = request.query.get_bool("stream"),
                     .want_stdin = request.query.get_bool("stdin"),
                     .want_stdout = request.query.get_bool("stdout"),
                     .want_stderr = request.query.get_bool("stderr"),
                     .logs = request.query.get_bool("logs"),
                     .detach_keys = *std::move(keys)};
}

/// Output to the client until the process ends or the client has gone.
net::awaitable<void> forward_output(Exchange& exchange, engine::Attachment& attachment, bool raw) {
  for (;;) {
    const std::optional<engine::OutputChunk> chunk = co_await attachment.next();
    if (!chunk) co_return;
    const std::vector<std::byte> bytes = frame(chunk->stream, *chunk->bytes, raw);
    const auto written = co_await exchange.write(std::span<const std::byte>(bytes));
    if (!written) co_return;
  }
}

/// The machine of the run that began after `exits` exits; null if that run is over.
net::awaitable<std::shared_ptr<engine::Machine>> machine_of_run(ContainerPtr container,
                                                                std::uint64_t exits) {
  while (container->exits == exits && !container->removed && !container->state.running())
    co_await container->changed.wait();
  co_return container->exits == exits ? container->machine : nullptr;
}

/// The client's input to the process. Returns when the client detached or has gone: its half-close
/// alone ends only the input.
net::awaitable<void> forward_input(Api& api, Exchange& exchange, ContainerPtr container,
                                   DetachKeys keys) {
  const std::uint64_t exits = container->exits;
  const bool tty = container->settings.tty();
  std::vector<std::byte> piece(32u << 10);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size) co_return;
    if (*size == 0) break;
    const std::span<const std::byte> input = std::span<const std::byte>(piece).first(*size);
    DetachKeys::Scan scan{.pass = {}, .detach = false};
    if (tty) {
      scan = keys.scan(input);
    } else {
      scan.pass.assign(input.begin(), input.end());
    }
    const auto machine = co_await machine_of_run(container, exits);
    if (machine && !scan.pass.empty()) {
      const auto turn = co_await container->stdin_turn.lock();
      // A process that closed its input, or ended, does not end the attachment.
      [[maybe_unused]] const auto written =
          co_await machine->write_stdin(engine::kMainProcess, std::move(scan.pass));
    }
    if (scan.detach) {
      api.containers.publish(*container, "detach");
      co_return;
    }
  }
  if (container->settings.stdin_once() && !tty) {
    const auto machine = co_await machine_of_run(container, exits);
    if (machine) machine->close_stdin(engine::kMainProcess);
  }
  co_await exchange.peer_gone();
}

net::awaitable<void> replay_log(Exchange& exchange, ContainerPtr container, AttachQuery query,
                                engine::TimeNs until) {
  LogQuery log{.want_stdout = query.want_stdout, .want_stderr = query.want_stderr};
  log.raw = container->settings.tty();
  log.until = until;
  engine::JsonLogReader reader(container->log_path());
  co_await write_log(exchange, log, reader);
}

// POST /containers/{id}/attach
//   101 or 200, then the streams · 400 bad detach keys · 404 no such container (as text)
net::awaitable<void> attach(Api& api, Exchange& exchange) {
  const auto found = api.containers.find(exchange.request().path_arg("id"));
  const auto query = parse_attach_query(exchange.request());
  if (!found || !query) {
    const Error& error = found ? query.error() : found.error();
    Response refusal = http::text(http::status_of(error.code), error.message + "\r\n");
    refusal.content_type = kRawStream;
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const ContainerPtr container = *found;
  const bool raw = container->settings.tty();
  // Attached before the client is told so: nothing written after its answer is missed.
  const auto attachment = container->output->attach(query->want_stdout && query->stream,
                                                    query->want_stderr && query->stream);
  const engine::TimeNs attached_at = engine::now_ns();
  const auto hijacked =
      co_await exchange.hijack(content_type_of(*container, exchange.request().version));
  if (!hijacked) co_return;
  api.containers.publish(*container, "attach");
  if (query->logs && container->settings.logs())
    co_await replay_log(exchange, container, *query, attached_at);
  if (!query->stream) co_return;
  if (query->want_stdin && container->settings.open_stdin()) {
    co_await (forward_output(exchange, *attachment, raw) ||
              forward_input(api, exchange, container, query->detach_keys));
  } else {
    co_await (forward_output(exchange, *attachment, raw) || exchange.peer_gone());
  }
}

}  // namespace

void add_stream_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/containers/{id}/wait", std::bind_front(wait, std::ref(api)));
  router.add_stream("GET", "/containers/{id}/logs", std::bind_front(logs, std::ref(api)));
  router.add_stream("POST", "/containers/{id}/attach", std::bind_front(attach, std::ref(api)));
}

}  // namespace docker
