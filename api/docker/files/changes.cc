// containers/{id}/changes: what a container has changed in its image's files.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/files/change_list.h"
#include "api/docker/files/tool_frames.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Response;
using http::Status;

namespace files = protocol::files;

namespace {

constexpr const char* kJson = "application/json";
constexpr std::size_t kPieceBytes = 64u << 10;

/// The rest of the list, as it comes.
net::awaitable<Result<void>> send_changes(Exchange& exchange, ToolFrames& frames,
                                          ChangeList& list) {
  while (!list.complete()) {
    const auto frame = co_await frames.next();
    if (!frame) co_return frame.error();
    const auto added = list.add(*frame);
    if (!added) co_return added.error();
    if (list.size() < kPieceBytes && !list.complete()) continue;
    const std::string text = list.take();
    const auto written = co_await exchange.write(text);
    if (!written) co_return written.error();
  }
  co_return Result<void>();
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
  ToolFrames frames(start_reading_changes(api.containers.files(), *container, "changes"));
  ChangeList list;
  // What goes wrong at once still has its status.
  const auto first = co_await frames.next();
  Result<void> added = first ? list.add(*first) : Result<void>(first.error());
  if (!added) {
    co_await exchange.respond(http::error_response(added.error()));
    co_return;
  }
  Response head{.status = Status::kOk, .content_type = kJson};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  if (list.complete()) {
    const std::string text = list.take();
    const auto written = co_await exchange.write(text);
    if (!written) exchange.break_off();
    co_return;
  }
  const auto sent = co_await send_changes(exchange, frames, list);
  if (!sent) exchange.break_off();
}

}  // namespace

void add_changes_routes(http::Router& router, Api& api) {
  router.add_stream("GET", "/containers/{id}/changes",
                    std::bind_front(list_changes, std::ref(api)));
}

}  // namespace docker
