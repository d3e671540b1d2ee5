// build: POST /build, /build/cancel, /build/prune, as clients without BuildKit use them.
#include <fcntl.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <memory>
#include <stop_token>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/build/build_output.h"
#include "api/docker/build/build_query.h"
#include "api/engine/build/sources/build_input.h"
#include "images/registry/documents/credentials.h"
#include "vmm/base/scope_exit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace {

using build::BuildOutput;
using build::BuildQuery;
using engine::build::BuildInput;
using engine::build::BuildOptions;
using engine::build::InputPlace;

using InputResult = std::shared_ptr<Result<BuildInput>>;

/// What a build is made from, and the spooled archive that its context lies in.
struct SpooledInput {
  http::SpoolFilePtr archive;
  BuildInput input;
};

net::awaitable<Result<SpooledInput>> input_of_body(Api& api, Exchange& exchange, InputPlace place) {
  const auto archive = co_await api.spool.receive(exchange, kMaxUpload);
  if (!archive) co_return archive.error();
  // Nobody waits for what is made of it once the client has gone.
  exchange.end_with_input();
  const std::function<Result<BuildInput>(std::stop_token)> call =
      [file = *archive, place](std::stop_token stop) -> Result<BuildInput> {
    base::UniqueFd own(::fcntl(file->fd(), F_DUPFD_CLOEXEC, 0));
    if (!own) return base::errno_error("dup");
    return engine::build::read_input(place, std::move(own), file->size(), stop);
  };
  auto input = co_await api.threads.work.run_stoppable(exchange.client(), call);
  if (!input) co_return std::move(input).error();
  co_return SpooledInput{.archive = *archive, .input = *std::move(input)};
}

net::awaitable<void> download(Api& api, InputPlace place, registry::Url url, std::stop_token stop,
                              InputResult input) {
  const std::function<Result<BuildInput>()> call = [&web = api.registries, place, url, stop] {
    return engine::build::fetch_input(place, web, url, stop);
  };
  *input = co_await api.threads.transfers.run(call);
}

net::awaitable<void> stop_when_gone(Exchange& exchange, std::stop_source stop) {
  const base::ScopeExit request([&] { stop.request_stop(); });
  co_await exchange.peer_gone();
}

/// Reads the input from the request's body, or from what `remote` names.
net::awaitable<Result<SpooledInput>> input_of(Api& api, Exchange& exchange,
                                              const BuildQuery& query) {
  InputPlace place{
      .store = api.images, .directory = api.host.state_directory, .dockerfile = query.dockerfile};
  if (query.remote.empty()) co_return co_await input_of_body(api, exchange, std::move(place));
  const auto url = engine::build::parse_remote(query.remote);
  if (!url) co_return url.error();
  const auto input =
      std::make_shared<Result<BuildInput>>(Error{Code::kUnavailable, "the build was interrupted"});
  exchange.end_with_input();
  const std::stop_source stop;
  const std::stop_token stopped = stop.get_token();
  co_await (async::shielded(download(api, place, *url, stopped, input)) ||
            stop_when_gone(exchange, stop));
  if (!*input) co_return std::move(*input).error();
  co_return SpooledInput{.archive = nullptr, .input = **std::move(input)};
}

/// Ends the build when its client has gone.
struct Listening {
  std::stop_source stop;
  std::shared_ptr<BuildOutput> output;
  bool served = false;
  ~Listening() {
    if (served) return;
    output->abandon();
    stop.request_stop();
  }
};

net::awaitable<void> serve(Exchange& exchange, std::shared_ptr<BuildOutput> output,
                           std::stop_source stop) {
  Listening listening{.stop = std::move(stop), .output = output};
  co_await output->forward(exchange);
  listening.served = output->ended();
}

net::awaitable<void> run(Api& api, BuildOptions options, BuildInput input,
                         std::shared_ptr<BuildOutput> output, std::stop_source stop) {
  std::shared_ptr<engine::build::BuildListener> listener = output;
  const auto outcome = co_await api.use_cases.builds.run(std::move(options), std::move(input),
                                                         std::move(listener), std::move(stop));
  if (outcome.image) {
    output->finish(*outcome.image);
  } else {
    output->fail({.error = outcome.image.error(), .exit_code = outcome.exit_code});
  }
}

Result<BuildQuery> query_of(const Request& request) {
  auto query = build::parse_build_query(request.query);
  if (!query) return query;
  auto credentials =
      registry::parse_config_header(request.headers.get("X-Registry-Config").value_or(""));
  if (!credentials) return std::move(credentials).error();
  query->options.credentials = *std::move(credentials);
  return query;
}

// POST /build
//   200 and a stream of what happens, possibly with an error · 400 a bad parameter, Dockerfile or
//   context · 404 no such thing at the URL
net::awaitable<void> start_build(Api& api, Exchange& exchange) {
  const auto query = query_of(exchange.request());
  if (!query) {
    Response refusal = http::error_response(query.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const auto spooled = co_await input_of(api, exchange, *query);
  if (!spooled) {
    const bool late = spooled.error().code == Code::kDeadlineExceeded;
    Response refusal =
        late ? http::body_error_response(spooled.error()) : http::error_response(spooled.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const net::any_io_executor executor = co_await net::this_coro::executor;
  const auto output = std::make_shared<BuildOutput>(executor, query->quiet);
  const std::stop_source stop;
  auto work = run(api, query->options, spooled->input, output, stop);
  co_await (async::shielded(std::move(work)) && serve(exchange, output, stop));
}

// POST /build/cancel?id=
//   200 whether there is such a build or not · 500 no name given
net::awaitable<Response> cancel_build(Api& api, Request request) {
  const std::string id = request.query.get_or("id", "");
  if (id.empty()) co_return http::error_response(Status::kInternalError, "build ID not provided");
  api.use_cases.builds.cancel(id);
  co_return http::empty(Status::kOk);
}

// POST /build/prune: what builds leave are images, which images/prune removes.
net::awaitable<Response> prune_builds(Request) {
  co_return http::json(Status::kOk, json{{"CachesDeleted", nullptr}, {"SpaceReclaimed", 0}});
}

}  // namespace

void add_build_routes(http::Router& router, Api& api) {
  router.add_stream("POST", "/build", std::bind_front(start_build, std::ref(api)));
  router.add("POST", "/build/cancel", std::bind_front(cancel_build, std::ref(api)));
  router.add("POST", "/build/prune", prune_builds);
}

}  // namespace docker
