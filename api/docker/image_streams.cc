// images/load, images/create, images/get: long bodies in one direction or the other.
#include <atomic>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/byte_bridge.h"
#include "api/docker/image_routes.h"
#include "api/docker/progress.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Response;
using http::Status;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace {

constexpr const char* kJson = "application/json";
constexpr const char* kTar = "application/x-tar";

/// A request's body on its way to a thread of Api::streams.
struct Upload {
  explicit Upload(base::UniqueFd blocking_side) : socket(std::move(blocking_side)) {}

  WholeSource source(std::stop_token stop) const {
    return {socket.get(), *whole, "the request ended before its body was complete",
            std::move(stop)};
  }

  base::UniqueFd socket;
  std::shared_ptr<std::atomic<bool>> whole = std::make_shared<std::atomic<bool>>(false);
};

// --- load -----------------------------------------------------------------------------------

using Loaded = std::vector<images::LoadedImage>;

/// Runs on a thread of Api::streams.
Result<Loaded> load_from(images::Store& store, const Upload& upload, Progress& progress, bool quiet,
                         std::stop_token stop) {
  images::LoadObserver observer;
  observer.on_line = [&](std::string_view line) {
    progress.say({{"stream", std::string(line) + "\n"}});
  };
  if (!quiet)
    observer.on_layer_progress = [&](std::string_view layer, std::uint64_t current,
                                     std::uint64_t total) {
      progress.report({{"status", "Loading layer"},
                       {"progressDetail", {{"current", current}, {"total", total}}},
                       {"progress", progress_bar(current, total)},
                       {"id", layer}});
    };
  WholeSource source = upload.source(std::move(stop));
  auto loaded = store.load(source, observer);
  if (!loaded) progress.fail(loaded.error());
  return loaded;
}

net::awaitable<void> run_load(Api& api, std::shared_ptr<Upload> upload,
                              std::shared_ptr<Progress> progress, bool quiet) {
  std::function<Result<Loaded>(std::stop_token)> call = [&store = api.images, upload, progress,
                                                         quiet](std::stop_token stop) {
    auto loaded = load_from(store, *upload, *progress, quiet, std::move(stop));
    upload->socket.reset();
    progress->close();
    return loaded;
  };
  const auto loaded = co_await api.streams.run_stoppable<Result<Loaded>>(std::move(call));
  if (!loaded) co_return;
  for (const images::LoadedImage& image : *loaded)
    publish_image_event(api, "load", image.id, image.id);
}

net::awaitable<void> send_and_report(Exchange& exchange, net::local::stream_protocol::socket into,
                                     std::shared_ptr<Upload> upload,
                                     std::shared_ptr<Progress> progress) {
  const auto sent = co_await pump_body(exchange, std::move(into), upload->whole);
  if (!sent) co_return;
  exchange.end_with_input();
  Response head{.status = Status::kOk, .content_type = kJson};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  // Who is gone does not hear the rest.
  (void)co_await progress->forward(exchange);
}

// POST /images/load: ends with its client.
//   200 and a stream of progress, results, and possibly an error
net::awaitable<void> load(Api& api, Exchange& exchange) {
  const auto executor = co_await net::this_coro::executor;
  auto bridge = ByteBridge::make(executor);
  if (!bridge) {
    co_await exchange.respond(http::error_response(bridge.error()));
    co_return;
  }
  const auto progress = std::make_shared<Progress>(executor);
  const auto upload = std::make_shared<Upload>(std::move(bridge->blocking_side));
  const bool quiet = exchange.request().query.get_bool("quiet");
  co_await (send_and_report(exchange, std::move(bridge->coroutine_side), upload, progress) &&
            run_load(api, upload, progress, quiet));
}

// --- import and pull ------------------------------------------------------------------------

net::awaitable<void> run_import(Api& api, std::shared_ptr<Upload> upload,
                                images::ImportOptions options,
                                std::shared_ptr<Result<images::LoadedImage>> result) {
  std::function<Result<images::LoadedImage>(std::stop_token)> call =
      [&store = api.images, upload, options](std::stop_token stop) {
        WholeSource source = upload->source(std::move(stop));
        auto imported = store.import(source, options);
        upload->socket.reset();
        return imported;
      };
  *result = co_await api.streams.run_stoppable<Result<images::LoadedImage>>(std::move(call));
  if (*result) publish_image_event(api, "import", (*result)->id, (*result)->id);
}

net::awaitable<void> send_only(Exchange& exchange, net::local::stream_protocol::socket into,
                               std::shared_ptr<Upload> upload) {
  // A broken connection shows as a cut-off stream on the other side.
  (void)co_await pump_body(exchange, std::move(into), upload->whole);
  exchange.end_with_input();
}

net::awaitable<void> import(Api& api, Exchange& exchange) {
  const http::Query& query = exchange.request().query;
  images::ImportOptions options{.repository_and_tag = query.get_or("repo", ""),
                                .changes = query.get_all("changes"),
                                .message = query.get_or("message", ""),
                                .source = query.get_or("fromSrc", "")};
  const std::string tag = query.get_or("tag", "");
  if (!tag.empty() && !options.repository_and_tag.empty()) options.repository_and_tag += ":" + tag;
  if (options.source != "-") {
    co_await exchange.respond(http::error_response(
        Status::kNotImplemented,
        "importing from a URL is not supported: fetch it, and import it from standard input"));
    co_return;
  }
  auto bridge = ByteBridge::make(co_await net::this_coro::executor);
  if (!bridge) {
    co_await exchange.respond(http::error_response(bridge.error()));
    co_return;
  }
  const auto upload = std::make_shared<Upload>(std::move(bridge->blocking_side));
  const auto result = std::make_shared<Result<images::LoadedImage>>(
      Error{Code::kUnavailable, "the import was interrupted"});
  co_await (send_only(exchange, std::move(bridge->coroutine_side), upload) &&
            run_import(api, upload, std::move(options), result));
  if (!*result) {
    co_await exchange.respond(http::error_response(result->error()));
    co_return;
  }
  const json answer{{"status", (*result)->id}};
  Response response{
      .status = Status::kOk, .content_type = kJson, .body = http::dump_json(answer) + "\r\n"};
  co_await exchange.respond(std::move(response));
}

// POST /images/create
//   200 and a stream · 400 bad name, change or tar · 404 no such image · 501 other sources
net::awaitable<void> create(Api& api, Exchange& exchange) {
  if (exchange.request().query.get_or("fromImage", "").empty() &&
      !exchange.request().query.get_or("fromSrc", "").empty())
    co_return co_await import(api, exchange);
  co_await pull_image(api, exchange);
}

// --- save -----------------------------------------------------------------------------------

net::awaitable<void> run_save(Api& api, std::shared_ptr<base::UniqueFd> socket,
                              std::vector<std::string> names,
                              std::shared_ptr<Result<void>> result) {
  std::function<Result<void>()> call = [&store = api.images, socket, names] {
    BridgeSink sink(socket->get());
    auto saved = store.save(names, sink);
    socket->reset();
    return saved;
  };
  *result = co_await api.streams.run<Result<void>>(std::move(call));
}

net::awaitable<void> receive_only(net::local::stream_protocol::socket from, Exchange& exchange) {
  // A client that is gone breaks the pipe for the other side.
  (void)co_await pump_response(std::move(from), exchange);
}

net::awaitable<Result<void>> find_all(Api& api, std::vector<std::string> names) {
  std::function<Result<void>()> call = [&store = api.images, names]() -> Result<void> {
    for (const std::string& name : names)
      if (auto found = store.resolve(name); !found) return std::move(found).error();
    return {};
  };
  co_return co_await api.pool.run<Result<void>>(std::move(call));
}

net::awaitable<void> save_images(Api& api, Exchange& exchange, std::vector<std::string> names) {
  const auto known = co_await find_all(api, names);
  auto bridge = ByteBridge::make(co_await net::this_coro::executor);
  if (!known || !bridge) {
    co_await exchange.respond(http::error_response(known ? bridge.error() : known.error()));
    co_return;
  }
  Response head{.status = Status::kOk, .content_type = kTar};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const auto socket = std::make_shared<base::UniqueFd>(std::move(bridge->blocking_side));
  const auto result = std::make_shared<Result<void>>();
  co_await (receive_only(std::move(bridge->coroutine_side), exchange) &&
            run_save(api, socket, names, result));
  if (*result) co_return;
  // Too late for another status: the stream ends in the middle of the tar, with the reason.
  const json error{{"errorDetail", {{"message", result->error().message}}},
                   {"error", result->error().message}};
  co_await exchange.write(http::dump_json(error));
}

// GET /images/get?names=a&names=b
net::awaitable<void> save_named(Api& api, Exchange& exchange) {
  std::vector<std::string> names = exchange.request().query.get_all("names");
  if (names.empty()) {
    co_await exchange.respond(http::error_response(Status::kBadRequest, "no image specified"));
    co_return;
  }
  co_await save_images(api, exchange, std::move(names));
}

// GET /images/{name}/get
net::awaitable<void> save_one(Api& api, Exchange& exchange) {
  std::vector<std::string> names{exchange.request().path_arg("name")};
  co_await save_images(api, exchange, std::move(names));
}

}  // namespace

void add_image_stream_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/images/load", std::bind_front(load, std::ref(api)));
  router.add_stream("POST", "/images/create", std::bind_front(create, std::ref(api)));
  router.add_stream("GET", "/images/get", std::bind_front(save_named, std::ref(api)));
  router.add_stream("GET", "/images/{name:*}/get", std::bind_front(save_one, std::ref(api)));
}

}  // namespace docker
