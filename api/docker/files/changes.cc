// containers/{id}/changes: what a container has changed in its image's files.
#include <functional>
#include <optional>

#include "api/docker/api.h"
#include "api/docker/files/change_list.h"

namespace docker {

using base::Result;
using http::Exchange;
using http::Response;
using http::Status;

namespace {

constexpr const char* kJson = "application/json";
constexpr std::size_t kPieceBytes = 64u << 10;

/// The list, as it comes, from the change `next` on: nullopt if there is none.
net::awaitable<Result<void>> send_changes(Exchange& exchange, engine::ChangeReader& changes,
                                          std::optional<engine::FileChange> next) {
  ChangeList list;
  while (next) {
    list.add(*next);
    auto following = co_await changes.next();
    if (!following) co_return std::move(following).error();
    next = *std::move(following);
    if (list.size() < kPieceBytes) continue;
    const std::string text = list.take();
    const auto written = co_await exchange.write(text);
    if (!written) co_return written.error();
  }
  list.finish();
  const std::string text = list.take();
  co_return co_await exchange.write(text);
}

// GET /containers/{id}/changes
//   200 a list, or null when nothing has changed · 404 no such container
net::awaitable<void> list_changes(Api& api, Exchange& exchange) {
  const auto container = api.containers.find(exchange.request().path_arg("id"));
  if (!container) {
    co_await exchange.respond(http::error_response(container.error()));
    co_return;
  }
  exchange.end_with_input();
  const auto changes = api.use_cases.archives.read_changes(*container);
  // What goes wrong at once still has its status.
  const auto first = co_await changes->next();
  if (!first) {
    co_await exchange.respond(http::error_response(first.error()));
    co_return;
  }
  Response head{.status = Status::kOk, .content_type = kJson};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const auto sent = co_await send_changes(exchange, *changes, *first);
  if (!sent) exchange.break_off();
}

}  // namespace

void add_changes_routes(http::Router& router, Api& api) {
  router.add_stream("GET", "/containers/{id}/changes",
                    std::bind_front(list_changes, std::ref(api)));
}

}  // namespace docker
