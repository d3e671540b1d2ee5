#include "api/docker/json_rows.h"

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

namespace docker {

net::awaitable<void> JsonRows::add(nlohmann::json row) {
  const std::string text = http::dump_json(row);
  if (size_++ > 0) text_ += ',';
  text_ += text;
  return count(text.size());
}

net::awaitable<void> JsonRows::pass() { return count(0); }

net::awaitable<void> JsonRows::count(std::size_t bytes) {
  bytes_ += bytes;
  if (++objects_ < kObjectsAtOnce && bytes_ < kBytesAtOnce) co_return;
  objects_ = bytes_ = 0;
  const net::any_io_executor executor = co_await net::this_coro::executor;
  co_await net::post(executor, net::use_awaitable);
}

http::Response rows_response(JsonRows rows, std::string_view before, std::string_view after) {
  std::string body(before);
  body += rows.take();
  body += after;
  body += '\n';
  return {.status = http::Status::kOk, .content_type = "application/json", .body = std::move(body)};
}

}  // namespace docker
