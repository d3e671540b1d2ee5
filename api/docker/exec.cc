// containers/{id}/exec and exec/{id}/...: further processes in running containers.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/detach_keys.h"
#include "api/docker/stream_frame.h"
#include "api/engine/execs.h"
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
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

Error bad_field(const std::string& name, const char* type) {
  return Error{Code::kInvalidArgument,
               "invalid JSON: " + name.substr(0, 64) + " must be " + std::string(type)};
}

/// Strings without NUL: they become arguments and environment.
Result<std::vector<std::string>> strings_of(const std::string& name, const json& value) {
  std::vector<std::string> strings;
  if (!value.is_array()) return bad_field(name, "an array of strings");
  for (const json& item : value) {
    if (!item.is_string()) return bad_field(name, "an array of strings");
    strings.push_back(item.get<std::string>());
    if (strings.back().find('\0') != std::string::npos) return bad_field(name, "free of NUL");
  }
  return strings;
}

/// Go's decoder, and so Docker, takes names without regard to case.
struct BeforeIgnoringCase {
  bool operator()(const std::string& a, const std::string& b) const {
    return base::lower_case(a) < base::lower_case(b);
  }
};
template <typename T>
using Named = std::map<std::string, T*, BeforeIgnoringCase>;

Result<engine::ExecSettings> parse_settings(const json& body) {
  if (!body.is_object()) return bad_field("the request", "an object");
  engine::ExecSettings settings;
  const Named<bool> flags{{"Tty", &settings.tty},
                          {"AttachStdin", &settings.attach_stdin},
                          {"AttachStdout", &settings.attach_stdout},
                          {"AttachStderr", &settings.attach_stderr},
                          {"Privileged", &settings.privileged}};
  const Named<std::string> texts{{"User", &settings.user},
                                 {"WorkingDir", &settings.working_dir},
                                 {"DetachKeys", &settings.detach_keys}};
  const Named<std::vector<std::string>> lists{{"Cmd", &settings.command}, {"Env", &settings.env}};
  // The start's request or its path says them.
  const std::set<std::string, BeforeIgnoringCase> ignored{"Detach", "ConsoleSize", "Container"};
  for (const auto& [name, value] : body.items()) {
    if (value.is_null()) continue;
    if (const auto flag = flags.find(name); flag != flags.end()) {
      if (!value.is_boolean()) return bad_field(name, "a boolean");
      *flag->second = value.get<bool>();
    } else if (const auto text = texts.find(name); text != texts.end()) {
      if (!value.is_string()) return bad_field(name, "a string");
      *text->second = value.get<std::string>();
      if (text->second->find('\0') != std::string::npos) return bad_field(name, "free of NUL");
    } else if (const auto list = lists.find(name); list != lists.end()) {
      auto strings = strings_of(name, value);
      if (!strings) return std::move(strings).error();
      *list->second = *std::move(strings);
    } else if (!ignored.contains(name)) {
      return Error{Code::kNotSupported, "the field " + name.substr(0, 64) + " is not supported"};
    }
  }
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

Result<void> take_size(const json& size, StartOptions& options) {
  const auto is_size = [](const json& n) { return n.is_number_unsigned() && n <= 65535u; };
  if (!size.is_array() || size.size() != 2 || !is_size(size[0]) || !is_size(size[1]))
    return bad_field("ConsoleSize", "[rows, columns]");
  options.rows = size[0].get<std::uint16_t>();
  options.columns = size[1].get<std::uint16_t>();
  return {};
}

/// What Docker does not know there it does not look at.
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
      RETURN_IF_ERROR(take_size(value, options));
    }
  }
  return options;
}

net::awaitable<void> forward_output(Exchange& exchange, engine::Attachment& attachment, bool raw) {
  for (;;) {
    const std::optional<engine::OutputChunk> chunk = co_await attachment.next();
    if (!chunk) co_return;
    const std::vector<std::byte> bytes = frame(chunk->stream, *chunk->bytes, raw);
    const auto written = co_await exchange.write(std::span<const std::byte>(bytes));
    if (!written) co_return;
  }
}

/// Until the client detached or has gone. The process goes on without it.
net::awaitable<void> forward_input(Exchange& exchange, ExecPtr exec, DetachKeys keys) {
  std::vector<std::byte> piece(32u << 10);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size) co_return;
    if (*size == 0) break;
    const std::span<const std::byte> input = std::span<const std::byte>(piece).first(*size);
    DetachKeys::Scan scan{.pass = {}, .detach = false};
    if (exec->settings.tty) {
      scan = keys.scan(input);
    } else {
      scan.pass.assign(input.begin(), input.end());
    }
    const std::shared_ptr<engine::Machine> machine = exec->machine;
    if (machine && exec->running && !scan.pass.empty()) {
      const auto turn = co_await exec->stdin_turn.lock();
      [[maybe_unused]] const auto written =
          co_await machine->write_stdin(exec->process, std::move(scan.pass));
    }
    if (scan.detach) co_return;
  }
  if (exec->machine && exec->running && !exec->settings.tty)
    exec->machine->close_stdin(exec->process);
  co_await exchange.peer_gone();
}

net::awaitable<void> stream_exec(Api& api, Exchange& exchange, ExecPtr exec, StartOptions options) {
  const bool raw = options.tty;
  const bool multiplexed = !raw && exchange.request().version >= http::ApiVersion{1, 42};
  // A raw stream has no place for a second one, so Docker does not send it.
  const auto attachment =
      exec->output->attach(exec->settings.attach_stdout, exec->settings.attach_stderr && !raw);
  std::string type(multiplexed ? kMultiplexedStream : kRawStream);
  const auto hijacked = co_await exchange.hijack(std::move(type));
  if (!hijacked) co_return;
  auto starting = api.execs.start(exec, options.rows, options.columns);
  const auto started = co_await async::shielded(std::move(starting));
  if (!started) {
    // The answer has begun: the error is the output, and the exit code tells the rest.
    const std::string text = started.error().message + "\r\n";
    const std::vector<std::byte> bytes =
        frame(protocol::Stream::kStdout, std::as_bytes(std::span(text)), raw);
    co_await exchange.write(std::span<const std::byte>(bytes));
    co_return;
  }
  const auto keys = DetachKeys::parse(exec->settings.detach_keys);
  if (exec->settings.attach_stdin) {
    co_await (forward_output(exchange, *attachment, raw) || forward_input(exchange, exec, *keys));
  } else {
    co_await (forward_output(exchange, *attachment, raw) || exchange.peer_gone());
  }
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
    Response refusal = http::error_response(*error);
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

// POST /exec/{id}/resize
net::awaitable<Response> resize_exec(Api& api, Request request) {
  const auto exec = api.execs.find(request.path_arg("id"));
  if (!exec) co_return http::error_response(exec.error());
  const int rows = std::atoi(request.query.get_or("h", "0").c_str());
  const int columns = std::atoi(request.query.get_or("w", "0").c_str());
  if (rows < 0 || rows > 65535 || columns < 0 || columns > 65535)
    co_return http::error_response(Status::kBadRequest,
                                   "a terminal has at most 65535 rows and columns");
  auto resizing = api.execs.resize(*exec, static_cast<std::uint16_t>(rows),
                                   static_cast<std::uint16_t>(columns));
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
              {"Running", exec.running},
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
              {"CanRemove", !exec.running},
              {"ContainerID", exec.container->id},
              {"DetachKeys", exec.settings.detach_keys},
              {"Pid", exec.pid}};
  if (exec.exit_code) answer["ExitCode"] = *exec.exit_code;
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
