// containers/{id}/attach, wait.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/detach_keys.h"
#include "api/docker/streams/log_stream.h"
#include "api/docker/streams/process_client.h"
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
  const std::uint64_t exits = (*container)->run.exits;
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
  // Before 1.42 a websocket always carried all of them.
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
  engine::ProcessPtr process;  // of the run that it is attached to
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
                .process = nullptr,
                .query = *std::move(query),
                .websocket = websocket,
                .raw = websocket,
                .past = nullptr,
                .output = nullptr};
  client.raw = client.raw || client.container->settings.process.tty;
  const std::function<void()> attach = [&client] {
    client.process = client.container->run.process;
    client.output = client.process->attach(client.query.want_stdout && client.query.stream,
                                           client.query.want_stderr && client.query.stream);
  };
  if (client.query.logs && client.container->storage.log) {
    // `attach` runs at the moment at which the past ends: no output is in both, and none in
    // neither.
    auto past = co_await client.container->storage.log->read(false, attach);
    if (!past) co_return std::move(past).error();
    client.past = *std::move(past);
  } else {
    attach();
  }
  co_return client;
}

/// With StdinOnce the end of the client's input, however it came, is the process's, too.
ProcessClient::Input input_of(Api& api, const Client& client) {
  const bool closes = client.container->settings.process.stdin_once && !client.process->tty();
  return {.detach_keys = client.query.detach_keys,
          .at_end = closes ? InputEnd::kClosesStdin : InputEnd::kDetaches,
          .detached = [&api, container = client.container] {
            api.containers.publish(*container, "detach");
          }};
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
  ProcessClient attached{.process = client.process,
                         .output = std::move(client.output),
                         .raw = client.raw,
                         .hangup = !client.websocket,
                         .input = std::nullopt};
  if (query.want_stdin && client.container->settings.process.open_stdin)
    attached.input = input_of(api, client);
  co_await serve_process(exchange, std::move(attached));
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
