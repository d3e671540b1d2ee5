// build: POST /build, /build/cancel, /build/prune, as clients without BuildKit use them.
#include <fcntl.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <map>
#include <stop_token>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/build/build_input.h"
#include "api/docker/build/builder.h"
#include "api/docker/images/image_routes.h"
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

using build::Builder;
using build::BuildInput;
using build::BuildOptions;
using build::BuildOutput;
using build::InputPlace;

/// Builds under way that a client may cancel by their name.
using Builds = std::map<std::string, std::weak_ptr<Builder>>;

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
    return build::read_input(place, std::move(own), file->size(), stop);
  };
  auto input = co_await api.threads.work.run_stoppable(exchange.client(), call);
  if (!input) co_return std::move(input).error();
  co_return SpooledInput{.archive = *archive, .input = *std::move(input)};
}

net::awaitable<void> download(Api& api, InputPlace place, registry::Url url, std::stop_token stop,
                              InputResult input) {
  const std::function<Result<BuildInput>()> call = [&web = api.registries, place, url, stop] {
    return build::fetch_input(place, web, url, stop);
  };
  *input = co_await api.threads.transfers.run(call);
}

net::awaitable<void> stop_when_gone(Exchange& exchange, std::stop_source stop) {
  const base::ScopeExit request([&] { stop.request_stop(); });
  co_await exchange.peer_gone();
}

/// Of the request's body, or of what `remote` names.
net::awaitable<Result<SpooledInput>> input_of(Api& api, Exchange& exchange,
                                              const BuildOptions& options) {
  InputPlace place{
      .store = api.images, .directory = api.host.state_directory, .dockerfile = options.dockerfile};
  if (options.remote.empty()) co_return co_await input_of_body(api, exchange, std::move(place));
  const auto url = build::parse_remote(options.remote);
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

net::awaitable<Result<void>> tag_image(Api& api, std::string id, std::vector<std::string> tags,
                                       std::shared_ptr<BuildOutput> output) {
  for (const std::string& tag : tags) {
    const std::function<Result<std::string>()> call = [&store = api.images, id, tag] {
      return store.tag(id, tag);
    };
    const auto tagged = co_await api.threads.pool.run(call);
    if (!tagged) co_return tagged.error();
    publish_image_event(api, "tag", id, tag);
    output->stream("Successfully tagged " + tag + "\n");
  }
  co_return Result<void>();
}

net::awaitable<void> run(Api& api, std::shared_ptr<Builder> builder,
                         dockerfile::Dockerfile dockerfile, std::vector<std::string> tags,
                         std::shared_ptr<BuildOutput> output) {
  const auto id = co_await builder->run(std::move(dockerfile));
  Result<void> done = id ? Result<void>() : Result<void>(id.error());
  if (id) {
    output->stream("Successfully built " + build::short_id(*id) + "\n");
    done = co_await tag_image(api, *id, std::move(tags), output);
  }
  if (done) {
    output->finish(*id);
  } else {
    output->fail({.error = done.error(), .exit_code = builder->exit_code()});
  }
}

/// Ends the build when its client has gone.
struct Listener {
  std::shared_ptr<Builder> builder;
  std::shared_ptr<BuildOutput> output;
  bool served = false;
  ~Listener() {
    if (served) return;
    output->abandon();
    builder->cancel();
  }
};

net::awaitable<void> serve(Exchange& exchange, std::shared_ptr<Builder> builder,
                           std::shared_ptr<BuildOutput> output) {
  Listener listener{.builder = builder, .output = output};
  co_await output->forward(exchange);
  listener.served = output->ended();
}

// POST /build
//   200 and a stream of what happens, possibly with an error · 400 a bad parameter, Dockerfile or
//   context · 404 no such thing at the URL
net::awaitable<void> start_build(Api& api, std::shared_ptr<Builds> builds, Exchange& exchange) {
  auto options = build::parse_build_options(exchange.request().query);
  if (options) {
    auto credentials = registry::parse_config_header(
        exchange.request().headers.get("X-Registry-Config").value_or(""));
    if (credentials)
      options->credentials = *std::move(credentials);
    else
      options = std::move(credentials).error();
  }
  if (!options) {
    Response refusal = http::error_response(options.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const auto spooled = co_await input_of(api, exchange, *options);
  if (!spooled) {
    const bool late = spooled.error().code == Code::kDeadlineExceeded;
    Response refusal =
        late ? http::body_error_response(spooled.error()) : http::error_response(spooled.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const BuildInput& input = spooled->input;
  const auto output = std::make_shared<BuildOutput>(api.executor, options->quiet);
  const std::vector<std::string> tags = options->tags;
  const std::string name = options->build_id;
  const auto builder = std::make_shared<Builder>(api, *std::move(options), output, input.context);
  if (!name.empty()) (*builds)[name] = builder;
  // However this ends, also with the client; another build may have taken the name meanwhile.
  const base::ScopeExit forget([&] {
    const auto named = builds->find(name);
    if (named != builds->end() && named->second.lock() == builder) builds->erase(named);
  });
  co_await (async::shielded(run(api, builder, input.dockerfile, tags, output)) &&
            serve(exchange, builder, output));
}

// POST /build/cancel?id=
//   200 whether there is such a build or not · 500 no name given
net::awaitable<Response> cancel_build(std::shared_ptr<Builds> builds, Request request) {
  const std::string id = request.query.get_or("id", "");
  if (id.empty()) co_return http::error_response(Status::kInternalError, "build ID not provided");
  if (const auto found = builds->find(id); found != builds->end())
    if (const auto builder = found->second.lock()) builder->cancel();
  co_return http::empty(Status::kOk);
}

// POST /build/prune: what builds leave are images, which images/prune removes.
net::awaitable<Response> prune_builds(Request) {
  co_return http::json(Status::kOk, json{{"CachesDeleted", nullptr}, {"SpaceReclaimed", 0}});
}

}  // namespace

void add_build_routes(http::Router& router, Api& api) {
  const auto builds = std::make_shared<Builds>();
  router.add_stream("POST", "/build", std::bind_front(start_build, std::ref(api), builds));
  router.add("POST", "/build/cancel", std::bind_front(cancel_build, builds));
  router.add("POST", "/build/prune", prune_builds);
}

}  // namespace docker
