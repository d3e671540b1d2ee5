// containers/{id}/exec and exec/{id}/...: further processes in running containers.
#include <charconv>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/detach_keys.h"
#include "api/docker/streams/process_client.h"
#include "api/docker/streams/stream_frame.h"
#include "api/engine/execs/execs.h"
#include "vmm/base/letters.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::ExecPtr;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

Error bad_field(const std::string& name, const char* type) {
  return Error{Code::kInvalidArgument,
               "invalid JSON: " + name.substr(0, 64) + " must be " + std::string(type)};
}

/// Go's decoder, and so Docker, takes names without regard to case.
struct BeforeIgnoringCase {
  bool operator()(const std::string& a, const std::string& b) const {
    return base::lower_case(a) < base::lower_case(b);
  }
};
template <typename T>
using Named = std::map<std::string, T*, BeforeIgnoringCase>;

/// [rows, columns]
Result<void> take_size(const json& size, std::uint16_t& rows, std::uint16_t& columns) {
  const auto is_size = [](const json& n) { return n.is_number_unsigned() && n <= 65535u; };
  if (!size.is_array() || size.size() != 2 || !is_size(size[0]) || !is_size(size[1]))
    return bad_field("ConsoleSize", "[rows, columns]");
  rows = size[0].get<std::uint16_t>();
  columns = size[1].get<std::uint16_t>();
  return {};
}

Result<engine::ExecSettings> parse_settings(const json& body) {
  const auto fields = engine::take_fields(engine::exec_fields(), body, "");
  if (!fields) return fields.error();
  const auto flag = [&](const char* name) { return fields->at(name).get<bool>(); };
  const auto text = [&](const char* name) { return fields->at(name).get<std::string>(); };
  engine::ExecSettings settings{.command = fields->at("Cmd").get<std::vector<std::string>>(),
                                .env = fields->at("Env").get<std::vector<std::string>>(),
                                .user = text("User"),
                                .working_dir = text("WorkingDir"),
                                .detach_keys = text("DetachKeys"),
                                .tty = flag("Tty"),
                                .attach_stdin = flag("AttachStdin"),
                                .attach_stdout = flag("AttachStdout"),
                                .attach_stderr = flag("AttachStderr"),
                                .privileged = flag("Privileged")};
  if (const json& size = fields->at("ConsoleSize"); !size.is_null())
    RETURN_IF_ERROR(take_size(size, settings.rows, settings.columns));
  const auto keys = DetachKeys::parse(settings.detach_keys);
  if (!keys) return keys.error();
  return settings;
}

// POST /containers/{id}/exec
//   201 created · 404 no such container · 409 not running
net::awaitable<Response> create_exec(Api& api, Request request) {
  const auto container = api.containers.find(request.path_arg("id"));
  if (!container) co_return http::error_response(container.error());
  const auto body = request.json();
  if (!body) co_return http::error_response(body.error());
  auto settings = parse_settings(*body);
  if (!settings) co_return http::error_response(settings.error());
  const auto exec = api.execs.create(*container, *std::move(settings));
  if (!exec) co_return http::error_response(exec.error());
  const json answer{{"Id", (*exec)->id}};
  co_return http::json(Status::kCreated, answer);
}

struct StartOptions {
  bool detach = false;
  bool tty = false;  // how the streams are sent; the exec itself says whether it has a terminal
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
};

/// Reads the request's fields that Docker knows; as with Docker others are not looked at.
Result<StartOptions> parse_start(const std::string& text) {
  StartOptions options;
  if (text.empty()) return options;
  const auto body = http::parse_json(text);
  if (!body) return body.error();
  if (!body->is_object()) return bad_field("the request", "an object");
  const Named<bool> flags{{"Detach", &options.detach}, {"Tty", &options.tty}};
  for (const auto& [name, value] : body->items()) {
    if (value.is_null()) continue;
    if (const auto flag = flags.find(name); flag != flags.end()) {
      if (!value.is_boolean()) return bad_field(name, "a boolean");
      *flag->second = value.get<bool>();
    } else if (base::equals_ignoring_case(name, "ConsoleSize")) {
      RETURN_IF_ERROR(take_size(value, options.rows, options.columns));
    }
  }
  return options;
}

/// Without a terminal the end of the client's input ends the process's, too. A client that has gone
/// leaves the process running.
ProcessClient::Input input_of(const engine::Exec& exec) {
  // The keys were looked at when the exec was made.
  return {.detach_keys = *DetachKeys::parse(exec.settings.detach_keys),
          .at_end = exec.settings.tty ? InputEnd::kNothing : InputEnd::kClosesStdin,
          .detached = {}};
}

net::awaitable<void> stream_exec(Api& api, Exchange& exchange, ExecPtr exec, StartOptions options) {
  if (options.rows == 0 || options.columns == 0) {
    options.rows = exec->settings.rows;
    options.columns = exec->settings.columns;
  }
  const bool raw = options.tty;
  const bool multiplexed = !raw && exchange.request().version >= http::ApiVersion{1, 42};
  // A raw stream has no place for a second one, so Docker does not send it.
  auto attachment =
      exec->process->attach(exec->settings.attach_stdout, exec->settings.attach_stderr && !raw);
  std::string type(multiplexed ? kMultiplexedStream : kRawStream);
  const auto hijacked = co_await exchange.hijack(std::move(type));
  if (!hijacked) co_return;
  auto starting = api.execs.start(exec, options.rows, options.columns);
  const auto started = co_await async::shielded(std::move(starting));
  if (!started) {
    // The answer has begun: the error is the output, and the exit code tells the rest.
    const std::string text = started.error().message + "\r\n";
    const FrameHeader header(protocol::Stream::kStdout, text.size());
    co_await exchange.write(header.bytes(raw), std::as_bytes(std::span(text)));
    co_return;
  }
  ProcessClient client{
      .process = exec->process, .output = std::move(attachment), .raw = raw, .input = std::nullopt};
  if (exec->settings.attach_stdin) client.input = input_of(*exec);
  co_await serve_process(exchange, std::move(client));
}

// POST /exec/{id}/start
//   101 or 200, then the streams · 200 empty when detached · 404 no such exec · 409 cannot start
net::awaitable<void> start_exec(Api& api, Exchange& exchange) {
  const auto exec = api.execs.find(exchange.request().path_arg("id"));
  const auto body = co_await exchange.read_body(http::Router::kMaxBody);
  Result<StartOptions> options = StartOptions{};
  if (body) options = parse_start(*body);
  Result<void> possible;
  if (exec) possible = api.execs.can_start(**exec);
  const Error* error = !exec ? &exec.error() : nullptr;
  if (error == nullptr && !body) error = &body.error();
  if (error == nullptr && !options) error = &options.error();
  if (error == nullptr && !possible) error = &possible.error();
  if (error != nullptr) {
    const bool unread = !body && error == &body.error();
    Response refusal = unread ? http::body_error_response(*error) : http::error_response(*error);
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  if (!options->detach) {
    co_await stream_exec(api, exchange, *exec, *options);
    co_return;
  }
  auto starting = api.execs.start(*exec, options->rows, options->columns);
  const auto started = co_await async::shielded(std::move(starting));
  Response answer = started ? http::empty(Status::kOk) : http::error_response(started.error());
  co_await exchange.respond(std::move(answer));
}

/// Reads a number that fits; nullopt if there is anything else.
std::optional<std::uint16_t> terminal_size(const std::string& text) {
  std::uint16_t size = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, size);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return size;
}

// POST /exec/{id}/resize
net::awaitable<Response> resize_exec(Api& api, Request request) {
  const auto exec = api.execs.find(request.path_arg("id"));
  if (!exec) co_return http::error_response(exec.error());
  const auto rows = terminal_size(request.query.get_or("h", "0"));
  const auto columns = terminal_size(request.query.get_or("w", "0"));
  if (!rows || !columns)
    co_return http::error_response(Status::kBadRequest,
                                   "a terminal has at most 65535 rows and columns");
  auto resizing = api.execs.resize(*exec, *rows, *columns);
  const auto resized = co_await async::shielded(std::move(resizing));
  co_return resized ? http::empty(Status::kOk) : http::error_response(resized.error());
}

// GET /exec/{id}/json
net::awaitable<Response> inspect_exec(Api& api, Request request) {
  const auto found = api.execs.find(request.path_arg("id"));
  if (!found) co_return http::error_response(found.error());
  const engine::Exec& exec = **found;
  const std::vector<std::string>& command = exec.settings.command;
  json answer{{"ID", exec.id},
              {"Running", exec.process->running()},
              {"ExitCode", nullptr},
              {"ProcessConfig",
               {{"tty", exec.settings.tty},
                {"entrypoint", command.front()},
                {"arguments", std::vector<std::string>(command.begin() + 1, command.end())},
                {"privileged", exec.settings.privileged},
                {"user", exec.settings.user}}},
              {"OpenStdin", exec.settings.attach_stdin},
              {"OpenStderr", exec.settings.attach_stderr},
              {"OpenStdout", exec.settings.attach_stdout},
              {"CanRemove", !exec.process->running()},
              {"ContainerID", exec.container->id},
              {"DetachKeys", exec.settings.detach_keys},
              {"Pid", exec.process->pid()}};
  if (const auto code = exec.process->exit_code()) answer["ExitCode"] = *code;
  co_return http::json(Status::kOk, answer);
}

}  // namespace

void add_exec_routes(http::Router& router, Api& api) {
  router.add("POST", "/containers/{id}/exec", std::bind_front(create_exec, std::ref(api)));
  router.add_stream("POST", "/exec/{id}/start", std::bind_front(start_exec, std::ref(api)));
  router.add("POST", "/exec/{id}/resize", std::bind_front(resize_exec, std::ref(api)));
  router.add("GET", "/exec/{id}/json", std::bind_front(inspect_exec, std::ref(api)));
}

}  // namespace docker
