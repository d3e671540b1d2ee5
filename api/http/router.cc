#include "api/http/router.h"

#include <algorithm>
#include <array>
#include <optional>

namespace http {

using base::Code;
using base::Error;
using base::Result;

namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  while (true) {
    const std::size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

std::string join(const std::vector<std::string_view>& parts, std::size_t from, std::size_t to) {
  std::string joined;
  for (std::size_t i = from; i < to; ++i) {
    if (i != from) joined += '/';
    joined += parts[i];
  }
  return joined;
}

}  // namespace

net::awaitable<Result<std::string>> Exchange::read_body(std::size_t limit) {
  std::string body;
  std::string piece(std::min<std::size_t>(limit + 1, 16u << 10), '\0');
  for (;;) {
    const auto size = co_await read_some(std::as_writable_bytes(std::span(piece)));
    if (!size) co_return size.error();
    if (*size == 0) co_return body;
    if (body.size() + *size > limit)
      co_return Error{Code::kResourceExhausted, "http: request body too large"};
    body.append(piece, 0, *size);
  }
}

net::awaitable<Result<void>> Exchange::write(std::string_view text) {
  co_return co_await write(std::as_bytes(std::span(text)));
}

std::vector<Router::Segment> Router::parse(std::string_view pattern) {
  std::vector<Segment> segments;
  for (std::string_view part : split(pattern)) {
    if (part.size() < 2 || part.front() != '{') {
      segments.push_back({Segment::Kind::kLiteral, std::string(part)});
      continue;
    }
    part = part.substr(1, part.size() - 2);
    const bool many = part.ends_with(":*");
    if (many) part.remove_suffix(2);
    segments.push_back({many ? Segment::Kind::kMany : Segment::Kind::kOne, std::string(part)});
  }
  return segments;
}

void Router::use_spool(const net::any_io_executor& executor, Spool& spool,
                       async::BlockingPool& pool) {
  large_ = std::make_unique<Large>(
      Large{.spool = spool, .pool = pool, .slots = {executor, kLargeBodies, kLargeBodies / 2}});
}

void Router::add(std::string_view method, std::string_view pattern, Handler handler, Body body) {
  routes_.push_back({std::string(method), parse(pattern), std::move(handler), body});
}

void Router::add_stream(std::string_view method, std::string_view pattern, StreamHandler handler) {
  routes_.push_back({std::string(method), parse(pattern), std::move(handler), Body::kKept});
}

bool Router::match_from(const std::vector<Segment>& pattern, std::size_t at,
                        const std::vector<std::string_view>& path, std::size_t path_at,
                        std::vector<std::pair<std::string, std::string>>& args) {
  if (at == pattern.size()) return path_at == path.size();
  if (path_at == path.size()) return false;
  const Segment& segment = pattern[at];
  if (segment.kind == Segment::Kind::kLiteral)
    return path[path_at] == segment.text && match_from(pattern, at + 1, path, path_at + 1, args);

  // A pattern has at most one "{x:*}", so its end is known from what must follow.
  const std::size_t after = pattern.size() - at - 1;
  const std::size_t left = path.size() - path_at;
  const std::size_t take = segment.kind == Segment::Kind::kOne ? 1 : left - std::min(left, after);
  if (take == 0) return false;
  std::string value = join(path, path_at, path_at + take);
  if (value.empty()) return false;
  args.emplace_back(segment.text, std::move(value));
  return match_from(pattern, at + 1, path, path_at + take, args);
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  const std::vector<std::string_view> parts = split(path);
  for (const Route& route : routes_) {
    if (route.method != method) continue;
    Match found;
    if (match_from(route.segments, 0, parts, 0, found.args)) {
      found.handler = &route.handler;
      found.body = route.body;
      return found;
    }
  }
  return {};
}

net::awaitable<void> Router::serve(Exchange& exchange) const {
  Match found = match(exchange.request().method, exchange.request().path);
  if (found.handler == nullptr) {
    co_await exchange.respond(error_response(Status::kNotFound, "page not found"));
    co_return;
  }
  exchange.request().path_args = std::move(found.args);
  if (const auto* stream = std::get_if<StreamHandler>(found.handler)) {
    co_await (*stream)(exchange);
    co_return;
  }
  co_await call(exchange, std::get<Handler>(*found.handler), found.body);
}

namespace {

net::awaitable<void> refuse_body(Exchange& exchange, Error error) {
  Response refusal = body_error_response(error);
  co_await exchange.respond(std::move(refusal));
}

/// Reads and drops the rest of the body.
net::awaitable<Result<void>> drop_body(Exchange& exchange) {
  std::array<std::byte, 4096> piece{};
  for (std::size_t total = 0;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size) co_return size.error();
    if (*size == 0) co_return Result<void>();
    total += *size;
    if (total > Router::kMaxBody)
      co_return Error{Code::kResourceExhausted, "http: request body too large"};
  }
}

}  // namespace

/// Reads the beginning of the body. True: that was all of it.
net::awaitable<Result<bool>> Router::read_small(Exchange& exchange, std::string& body) const {
  const std::size_t most = large_ ? kSmallBody : kMaxBody;
  std::string piece(4096, '\0');
  while (body.size() <= most) {
    const auto size = co_await exchange.read_some(std::as_writable_bytes(std::span(piece)));
    if (!size) co_return size.error();
    if (*size == 0) co_return true;
    body.append(piece, 0, *size);
  }
  if (!large_) co_return Error{Code::kResourceExhausted, "http: request body too large"};
  co_return false;
}

net::awaitable<void> Router::call(Exchange& exchange, const Handler& handler, Body kind) const {
  std::string body;
  Result<bool> whole = true;
  if (kind == Body::kDropped) {
    const auto dropped = co_await drop_body(exchange);
    if (!dropped) whole = dropped.error();
  } else {
    whole = co_await read_small(exchange, body);
  }
  if (!whole) co_return co_await refuse_body(exchange, whole.error());
  if (!*whole) co_return co_await call_with_large(exchange, handler, std::move(body));
  Request request = exchange.request();
  request.body = std::move(body);
  Response response = co_await handler(std::move(request));
  co_await exchange.respond(std::move(response));
}

net::awaitable<void> Router::call_with_large(Exchange& exchange, const Handler& handler,
                                             std::string first) const {
  const auto file = co_await large_->spool.receive(exchange, kMaxBody, std::move(first));
  if (!file) co_return co_await refuse_body(exchange, file.error());
  auto taken = co_await large_->slots.take(exchange.client());
  std::optional<ClientSlots::Slot> slot(std::move(taken));
  auto text = co_await large_->spool.text_of(*file);
  if (!text) co_return co_await refuse_body(exchange, text.error());
  Request request = exchange.request();
  request.body = *std::move(text);
  using Parsed = std::shared_ptr<const ParsedBody>;
  // The frame outlives the call, and with it the text.
  const std::function<Parsed()> parse = [&body = request.body] {
    return std::make_shared<const ParsedBody>(body);
  };
  request.parsed = co_await large_->pool.run(parse);
  Response response = co_await handler(std::move(request));
  slot.reset();
  co_await exchange.respond(std::move(response));
}

}  // namespace http
