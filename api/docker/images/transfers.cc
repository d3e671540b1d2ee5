// images/create?fromImage= and images/{name}/push: pulls and pushes, as streams of progress.
//
// The registry is asked on a thread of Api::transfers; the client that goes away stops it.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>

#include "api/docker/images/image_routes.h"
#include "api/docker/images/progress.h"
#include "api/docker/images/transfer_observer.h"
#include "api/engine/images/image_events.h"
#include "vmm/base/scope_exit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Response;
using http::Status;
using images::Reference;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

void JsonTransferObserver::message(std::string_view id, std::string_view text) {
  json object{{"status", text}};
  if (!id.empty()) object["id"] = id;
  progress_.say(object);
}

void JsonTransferObserver::update(std::string_view id, std::string_view action,
                                  std::uint64_t current, std::uint64_t total) {
  json object{{"status", action}, {"progressDetail", json::object()}, {"id", id}};
  if (total == 0) return progress_.say(object);
  object["progressDetail"] = {{"current", current}, {"total", total}};
  object["progress"] = progress_bar(current, total);
  progress_.report(object);
}

void JsonTransferObserver::pushed(std::string_view tag, std::string_view digest,
                                  std::uint64_t size) {
  progress_.say({{"progressDetail", json::object()},
                 {"aux", {{"Tag", tag}, {"Digest", digest}, {"Size", size}}}});
}

namespace {

/// What the coroutines of one pull or push share.
struct Transfer {
  explicit Transfer(const net::any_io_executor& executor)
      : progress(std::make_shared<Progress>(executor)) {}
  std::stop_source stop;
  std::shared_ptr<Progress> progress;
  Result<void> result;
};
using TransferPtr = std::shared_ptr<Transfer>;
using Operation =
    std::function<Result<void>(registry::TransferObserver& observer, std::stop_token stop)>;

net::awaitable<void> run(Api& api, TransferPtr transfer, Operation operation) {
  std::function<Result<void>()> call = [transfer, operation = std::move(operation)] {
    JsonTransferObserver observer(*transfer->progress);
    auto result = operation(observer, transfer->stop.get_token());
    // Until the first word was sent there is still a status to say it with.
    if (!result && transfer->progress->has_begun()) transfer->progress->fail(result.error());
    transfer->progress->close();
    return result;
  };
  transfer->result = co_await api.threads.transfers.run<Result<void>>(std::move(call));
}

net::awaitable<void> tell(Exchange& exchange, TransferPtr transfer) {
  // However this ends, nobody listens any more afterwards: the transfer is told to stop.
  const base::ScopeExit stop([&] { transfer->stop.request_stop(); });
  const bool begun = co_await transfer->progress->begun();
  if (!begun) co_return;
  Response head{.status = Status::kOk, .content_type = "application/json"};
  const auto sent = co_await exchange.begin_stream(std::move(head));
  if (!sent) co_return;
  (void)co_await transfer->progress->forward(exchange);
}

/// Runs `operation` beside its client; whether it succeeded.
net::awaitable<bool> stream(Api& api, Exchange& exchange, Operation operation) {
  const auto transfer = std::make_shared<Transfer>(co_await net::this_coro::executor);
  co_await (tell(exchange, transfer) && run(api, transfer, std::move(operation)));
  if (!transfer->result && !exchange.answered()) {
    Response refusal = http::error_response(transfer->result.error());
    co_await exchange.respond(std::move(refusal));
  }
  co_return transfer->result.has_value();
}

void publish(Api& api, const char* action, const Reference& reference) {
  engine::publish_image_event(api.events, action, reference.familiar(),
                              reference.familiar_repository());
}

Result<registry::Credentials> credentials_of(const http::Request& request) {
  return registry::parse_auth_header(request.headers.get("X-Registry-Auth").value_or(""));
}

/// `name` with a tag or digest of its own, or the one that `tag` gives.
Result<Reference> parse_reference(const std::string& name, const std::string& tag) {
  auto reference = Reference::parse(name);
  if (!reference || tag.empty()) return reference;
  if (tag.starts_with("sha256:")) {
    if (!images::is_sha256_digest(tag))
      return Error{Code::kInvalidArgument, "invalid checksum digest length"};
    return reference->with_digest(tag);
  }
  if (!images::is_valid_tag(tag)) return Error{Code::kInvalidArgument, "invalid tag format"};
  if (!reference->digest().empty()) return reference;
  return reference->with_tag(tag);
}

Result<registry::PullRequest> parse_pull(const http::Request& request) {
  auto reference =
      parse_reference(request.query.get_or("fromImage", ""), request.query.get_or("tag", ""));
  if (!reference) return std::move(reference).error();
  auto credentials = credentials_of(request);
  if (!credentials) return std::move(credentials).error();
  registry::PullRequest pull{.reference = *std::move(reference),
                             .platform = std::nullopt,
                             .credentials = *std::move(credentials)};
  if (const std::string text = request.query.get_or("platform", ""); !text.empty()) {
    auto platform = registry::Platform::parse(text);
    if (!platform) return std::move(platform).error();
    pull.platform = *std::move(platform);
  }
  return pull;
}

// POST /images/{name}/push
//   200 and a stream · 400 bad name or authentication
net::awaitable<void> push_image(Api& api, Exchange& exchange) {
  const http::Request& request = exchange.request();
  const auto reference = parse_reference(request.path_arg("name"), request.query.get_or("tag", ""));
  const auto credentials = credentials_of(request);
  if (!reference || !credentials) {
    Response refusal = http::error_response(!reference ? reference.error() : credentials.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  if (!request.query.get_or("platform", "").empty()) {
    Response refusal = http::error_response(
        Status::kBadRequest,
        "graphdriver backed image store doesn't support multi-platform images");
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  Operation operation = [&registries = api.registries,
                         push = registry::PushRequest{*reference, *credentials}](
                            registry::TransferObserver& observer, std::stop_token stop) {
    return registries.push(push, observer, std::move(stop));
  };
  const bool pushed = co_await stream(api, exchange, std::move(operation));
  if (pushed) publish(api, "push", *reference);
}

}  // namespace

net::awaitable<void> pull_image(Api& api, Exchange& exchange) {
  const auto pull = parse_pull(exchange.request());
  if (!pull) {
    co_await exchange.respond(http::error_response(pull.error()));
    co_return;
  }
  Operation operation = [&registries = api.registries, wanted = *pull](
                            registry::TransferObserver& observer, std::stop_token stop) {
    return registries.pull(wanted, observer, std::move(stop));
  };
  const bool pulled = co_await stream(api, exchange, std::move(operation));
  if (pulled) publish(api, "pull", pull->reference);
}

void add_push_route(http::Router& router, Api& api) {
  router.add_stream("POST", "/images/{name:*}/push", std::bind_front(push_image, std::ref(api)));
}

}  // namespace docker
