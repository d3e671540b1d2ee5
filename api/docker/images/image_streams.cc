// images/load, images/create, images/get: long bodies in one direction or the other.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/images/image_routes.h"
#include "api/docker/images/progress.h"
#include "api/engine/images/image_events.h"
#include "images/store/transfer/file_source.h"

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

// --- load -----------------------------------------------------------------------------------

using Loaded = std::vector<images::LoadedImage>;

/// Runs on a thread of Api::work.
Result<Loaded> load_from(images::Store& store, const http::SpoolFile& archive, Progress& progress,
                         bool quiet, std::stop_token stop) {
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
  images::FileSource source(archive.fd(), archive.size(), std::move(stop));
  auto loaded = store.load(source, observer);
  if (!loaded) progress.fail(loaded.error());
  return loaded;
}

net::awaitable<void> run_load(Api& api, http::ClientId client, http::SpoolFilePtr archive,
                              std::shared_ptr<Progress> progress, bool quiet) {
  std::function<Result<Loaded>(std::stop_token)> call = [&store = api.images, archive, progress,
                                                         quiet](std::stop_token stop) {
    auto loaded = load_from(store, *archive, *progress, quiet, std::move(stop));
    progress->close();
    return loaded;
  };
  const auto loaded =
      co_await api.threads.work.run_stoppable<Result<Loaded>>(client, std::move(call));
  if (!loaded) co_return;
  for (const images::LoadedImage& image : *loaded)
    engine::publish_image_event(api.events, "load", image.id, image.id);
}

net::awaitable<void> report(Exchange& exchange, std::shared_ptr<Progress> progress) {
  // A client that has gone does not hear the rest.
  (void)co_await progress->forward(exchange);
}

net::awaitable<void> refuse_body(Exchange& exchange, Error error) {
  Response refusal = http::body_error_response(error);
  co_await exchange.respond(std::move(refusal));
}

// POST /images/load: ends with its client.
//   200 and a stream of progress, results, and possibly an error · 408 the body does not come
net::awaitable<void> load(Api& api, Exchange& exchange) {
  const auto archive = co_await api.spool.receive(exchange, kMaxUpload);
  if (!archive) co_return co_await refuse_body(exchange, archive.error());
  exchange.end_with_input();
  const auto progress = std::make_shared<Progress>(co_await net::this_coro::executor);
  const bool quiet = exchange.request().query.get_bool("quiet");
  Response head{.status = Status::kOk, .content_type = kJson};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  co_await (report(exchange, progress) &&
            run_load(api, exchange.client(), *archive, progress, quiet));
}

// --- import and pull ------------------------------------------------------------------------

net::awaitable<Result<images::LoadedImage>> run_import(Api& api, http::ClientId client,
                                                       http::SpoolFilePtr tar,
                                                       images::ImportOptions options) {
  const std::function<Result<images::LoadedImage>(std::stop_token)> call =
      [&store = api.images, tar, options](std::stop_token stop) {
        images::FileSource source(tar->fd(), tar->size(), std::move(stop));
        return store.import(source, options);
      };
  auto imported = co_await api.threads.work.run_stoppable(client, call);
  if (imported) engine::publish_image_event(api.events, "import", imported->id, imported->id);
  co_return imported;
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
  const auto tar = co_await api.spool.receive(exchange, kMaxUpload);
  if (!tar) co_return co_await refuse_body(exchange, tar.error());
  exchange.end_with_input();
  const auto imported = co_await run_import(api, exchange.client(), *tar, std::move(options));
  if (!imported) {
    co_await exchange.respond(http::error_response(imported.error()));
    co_return;
  }
  const json answer{{"status", imported->id}};
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

/// Writes the archive into the spool, so that a client that takes it slowly keeps no thread
/// waiting.
class SpoolSink final : public images::ByteSink {
 public:
  explicit SpoolSink(http::SpoolFile& file) : file_(file) {}
  Result<void> write(std::span<const std::byte> bytes) override { return file_.write(bytes); }

 private:
  http::SpoolFile& file_;
};

net::awaitable<Result<http::SpoolFilePtr>> spool_images(Api& api, http::ClientId client,
                                                        std::vector<std::string> names) {
  auto file = api.spool.open(client);
  if (!file) co_return std::move(file).error();
  const std::function<Result<void>()> call = [&store = api.images, file = *file, names] {
    SpoolSink sink(*file);
    return store.save(names, sink);
  };
  const auto saved = co_await api.threads.work.run(client, call);
  if (!saved) co_return saved.error();
  co_return *std::move(file);
}

net::awaitable<Result<void>> find_all(Api& api, std::vector<std::string> names) {
  std::function<Result<void>()> call = [&store = api.images, names]() -> Result<void> {
    for (const std::string& name : names)
      if (auto found = store.resolve(name); !found) return std::move(found).error();
    return {};
  };
  co_return co_await api.threads.pool.run<Result<void>>(std::move(call));
}

// 200 the archive · 404 no such image
net::awaitable<void> save_images(Api& api, Exchange& exchange, std::vector<std::string> names) {
  const auto known = co_await find_all(api, names);
  Result<http::SpoolFilePtr> archive = http::SpoolFilePtr();
  if (known) archive = co_await spool_images(api, exchange.client(), std::move(names));
  if (!known || !archive) {
    co_await exchange.respond(http::error_response(known ? archive.error() : known.error()));
    co_return;
  }
  Response head{.status = Status::kOk, .content_type = kTar};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const auto sent = co_await api.spool.send(exchange, *archive);
  // It is too late for another status: the connection is broken off, so that the client does not
  // take the archive for whole.
  if (!sent) exchange.break_off();
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
