// containers/{id}/attach, wait.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/detach_keys.h"
#include "api/docker/streams/client_output.h"
#include "api/docker/streams/log_stream.h"
#include "api/docker/streams/stream_frame.h"

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
  const engine::WaitResult result = co_await engine::wait(*container, *condition, exits);
  json answer{{"StatusCode", result.exit_code}};
  if (!result.error.empty()) answer["Error"] = {{"Message", result.error}};
  const std::string text = http::dump_json(answer) + "\n";
  co_await exchange.write(std::string_view(text));
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

Result<AttachQuery> parse_attach_query(const http::Request& request, bool websocket) {
  auto keys = DetachKeys::parse(request.query.get_or("detachKeys", ""));
  if (!keys) return std::move(keys).error();
  // Until then a websocket always carried all of them.
  const bool choose = !websocket || request.version >= http::ApiVersion{1, 42};
  return AttachQuery{.stream = request.query.get_bool("stream"),
                     .want_stdin = !choose || request.query.get_bool("stdin"),
                     .want_stdout = !choose || request.query.get_bool("stdout"),
                     .want_stderr = !choose || request.query.get_bool("stderr"),
                     .logs = request.query.get_bool("logs"),
                     .detach_keys = *std::move(keys)};
}

/// What one client sees and does.
struct Client {
  ContainerPtr container;
  AttachQuery query;
  bool websocket = false;
  bool raw = false;  // without frames
  std::unique_ptr<engine::LogReader> past;
  std::unique_ptr<engine::Attachment> output;
};

/// Attaches, before the client is told so: nothing written after its answer is missed.
net::awaitable<Result<Client>> attach_client(Api& api, const http::Request& request,
                                             bool websocket) {
  const std::string name = request.path_arg("id");
  auto query = parse_attach_query(request, websocket);
  if (!query) co_return std::move(query).error();
  auto container = api.containers.find(name);
  if (!container) co_return std::move(container).error();
  const engine::Status status = (*container)->state.status;
  if (status == engine::Status::kPaused)
    co_return Error{Code::kConflict,
                    "container " + name + " is paused, unpause the container before attach"};
  if (status == engine::Status::kRestarting)
    co_return Error{Code::kConflict,
                    "container " + name + " is restarting, wait until the container is running"};
  Client client{.container = *std::move(container),
                .query = *std::move(query),
                .websocket = websocket,
                .raw = websocket,
                .past = nullptr,
                .output = nullptr};
  client.raw = client.raw || client.container->settings.tty();
  const std::function<void()> attach = [&client] {
    client.output =
        client.container->output->attach(client.query.want_stdout && client.query.stream,
                                         client.query.want_stderr && client.query.stream);
  };
  if (client.query.logs && client.container->log) {
    // In one moment: what is in the past is not in the output, too, and nothing is in neither.
    auto past = co_await client.container->log->read(false, attach);
    if (!past) co_return std::move(past).error();
    client.past = *std::move(past);
  } else {
    attach();
  }
  co_return client;
}

/// Until the run that began after `exits` exits is over.
net::awaitable<void> run_ended(ContainerPtr container, std::uint64_t exits) {
  while (container->exits == exits && !container->removed) co_await container->changed.wait();
}

/// The machine of the run that began after `exits` exits; null if that run is over.
net::awaitable<std::shared_ptr<engine::Machine>> machine_of_run(ContainerPtr container,
                                                                std::uint64_t exits) {
  while (container->exits == exits && !container->removed && !container->state.running())
    co_await container->changed.wait();
  co_return container->exits == exits ? container->machine : nullptr;
}

/// The client's input to the process, all that it sent, also if it has gone meanwhile. With
/// StdinOnce the end of it, however it came, is the process's too. Returns when the attachment is
/// over for this client: it detached or has gone, or its input has ended and is not the process's.
net::awaitable<void> forward_input(Api& api, Exchange& exchange, ContainerPtr container,
                                   DetachKeys keys) {
  const std::uint64_t exits = container->exits;
  const bool tty = container->settings.tty();
  std::vector<std::byte> piece(32u << 10);
  bool gone = false;
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    gone = !size;
    if (gone || *size == 0) break;
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
  if (!container->settings.stdin_once() || tty) co_return;
  const auto machine = co_await machine_of_run(container, exits);
  if (machine) machine->close_stdin(engine::kMainProcess);
  if (!gone) co_await exchange.peer_gone();
}

/// The attachment, once the client has its answer.
net::awaitable<void> serve_client(Api& api, Exchange& exchange, Client& client) {
  const AttachQuery& query = client.query;
  api.containers.publish(*client.container, "attach");
  if (client.past) {
    const LogQuery log{
        .want_stdout = query.want_stdout, .want_stderr = query.want_stderr, .raw = client.raw};
    const bool alive = co_await write_log(exchange, log, *client.past);
    client.past.reset();
    if (!alive) co_return;
  }
  if (!query.stream) co_return;
  if (query.want_stdin && client.container->settings.open_stdin()) {
    auto run = run_ended(client.container, client.container->exits);
    co_await (send_output_beside_input(exchange, std::move(client.output), client.raw,
                                       !client.websocket, std::move(run)) ||
              forward_input(api, exchange, client.container, query.detach_keys));
  } else {
    co_await (send_output(exchange, *client.output, client.raw) || exchange.peer_gone());
  }
}

// POST /containers/{id}/attach
//   101 or 200, then the streams · 400 bad detach keys · 404 no such container · 409 paused or
//   restarting (all as text)
net::awaitable<void> attach(Api& api, Exchange& exchange) {
  auto client = co_await attach_client(api, exchange.request(), false);
  if (!client) {
    const Error& error = client.error();
    Response refusal = http::text(http::status_of(error.code), error.message + "\r\n");
    refusal.content_type = kRawStream;
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const auto hijacked =
      co_await exchange.hijack(output_type(*client->container, exchange.request().version));
  if (hijacked) {
    co_await serve_client(api, exchange, *client);
  } else if (!exchange.answered()) {
    Response refusal = http::body_error_response(hijacked.error());
    co_await exchange.respond(std::move(refusal));
  }
}

// GET /containers/{id}/attach/ws
//   101, then messages: output as it comes, without frames · errors as for attach, as JSON
net::awaitable<void> attach_websocket(Api& api, Exchange& exchange) {
  auto client = co_await attach_client(api, exchange.request(), true);
  if (!client) {
    co_await exchange.respond(http::error_response(client.error()));
    co_return;
  }
  const bool binary = exchange.request().version >= http::ApiVersion{1, 28};
  const auto accepted = co_await exchange.accept_websocket(binary);
  if (accepted) {
    co_await serve_client(api, exchange, *client);
  } else if (!exchange.answered()) {
    Response refusal = http::body_error_response(accepted.error());
    co_await exchange.respond(std::move(refusal));
  }
}

}  // namespace

void add_stream_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/containers/{id}/wait", std::bind_front(wait, std::ref(api)));
  router.add_stream("GET", "/containers/{id}/logs", std::bind_front(logs, std::ref(api)));
  router.add_stream("POST", "/containers/{id}/attach", std::bind_front(attach, std::ref(api)));
  router.add_stream("GET", "/containers/{id}/attach/ws",
                    std::bind_front(attach_websocket, std::ref(api)));
}

}  // namespace docker
