#include "api/http/connection.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <ctime>
#include <optional>

#include "api/async/notifier.h"
#include "api/async/readiness.h"
#include "api/http/websocket.h"
#include "vmm/base/letters.h"

namespace http {

namespace beast = boost::beast;
using base::Code;
using base::Error;
using base::Result;
using boost::system::error_code;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

/// What is read and thrown away so that a client which is still sending sees our answer.
constexpr std::size_t kMaxDrain = 8u << 20;
constexpr std::chrono::seconds kDrainTimeout{2};
/// What is read of a body at once, at most.
constexpr std::size_t kMaxBodyRead = 32u << 10;

std::string date_header() {
  std::array<char, 64> out{};
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  const std::size_t size =
      std::strftime(out.data(), out.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
  return std::string(out.data(), size);
}

/// Whether the comma-separated list in a header has `token`.
bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (base::equals_ignoring_case(item, token)) return true;
  }
  return false;
}

/// Where the body ends must be beyond doubt. Two lengths, or a length beside a coding, the parser
/// has refused; what it lets pass is a coding that it does not know, as if there were no body.
Result<void> check_framing(const Headers& headers, const beast::http::request_header<>& head) {
  for (const auto& [name, value] : headers.all()) {
    if (!base::equals_ignoring_case(name, "Transfer-Encoding")) continue;
    if (head.version() < 11)
      return Error{Code::kInvalidArgument, "HTTP/1.0 has no Transfer-Encoding"};
    if (!base::equals_ignoring_case(value, "chunked"))
      return Error{Code::kInvalidArgument,
                   "unsupported transfer encoding: \"" + value.substr(0, 64) + "\""};
  }
  return {};
}

class Connection final : public Exchange {
 public:
  Connection(StreamSocket socket, ConnectionContext context)
      : socket_(std::move(socket)),
        never_(socket_.get_executor()),
        input_matters_changed_(socket_.get_executor()),
        body_deadline_(socket_.get_executor()),
        context_(std::move(context)),
        buffer_(kMaxHead + (64u << 10)) {}

  net::awaitable<void> serve();

  Request& request() override { return request_; }
  ClientId client() const override { return context_.client; }
  net::awaitable<Result<std::size_t>> read_some(std::span<std::byte> out) override;
  net::awaitable<Result<void>> respond(Response response) override;
  net::awaitable<Result<void>> begin_stream(Response head) override;
  net::awaitable<Result<void>> hijack(std::string content_type) override;
  net::awaitable<Result<void>> accept_websocket(bool binary) override;
  net::awaitable<Result<void>> write(std::span<const std::byte> head,
                                     std::span<const std::byte> bytes) override;
  void end_with_input() override;
  void break_off() override;
  net::awaitable<void> peer_gone() override;
  bool answered() const override { return exchange_.answered; }
  using Exchange::write;

 private:
  using Parser = beast::http::request_parser<beast::http::buffer_body>;

  net::awaitable<bool> read_head();
  net::awaitable<error_code> read_head_in_time();
  Result<void> accept_head();
  net::awaitable<void> run_handler();
  net::awaitable<Result<void>> write_message(std::span<const std::byte> head,
                                             std::span<const std::byte> bytes);
  net::awaitable<void> call_router();
  net::awaitable<void> watch_client();
  net::awaitable<void> hung_up();
  net::awaitable<void> watch_input();
  net::awaitable<void> try_respond(Response response);
  net::awaitable<error_code> read_body_piece(net::mutable_buffer out, std::size_t& taken);
  net::awaitable<Result<void>> skip_body();
  net::awaitable<Result<std::size_t>> read_raw(std::span<std::byte> out);
  net::awaitable<Result<void>> send(std::string head, std::string_view body);
  net::awaitable<Result<void>> send_in_time(std::string head, std::string_view body);
  net::awaitable<void> finish();
  net::awaitable<void> drain();
  std::string head_of(const Response& response, std::string_view framing) const;

  /// How far one request and its answer have come.
  struct Exchange {
    bool broken_off = false;
    bool input_matters = false;  // its end is the client's leaving
    bool keep_alive = false;
    bool expects_continue = false;
    bool answered = false;
    bool streaming = false;
    bool chunked = false;  // the streamed answer is (HTTP/1.1), else it ends with the close
    bool hijacked = false;
  };

  StreamSocket socket_;
  async::Notifier never_;  // waited for by what is to be cancelled; never notified
  async::Notifier input_matters_changed_;
  net::steady_timer body_deadline_;  // by then kBodyProgress has come, or the body's end
  std::size_t body_since_ = 0;       // bytes that have come of that
  const ConnectionContext context_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::optional<WebSocket> websocket_;
  Request request_;
  Exchange exchange_;
};

net::awaitable<void> Connection::serve() {
  for (;;) {
    const bool has_request = co_await read_head();
    if (!has_request) break;
    co_await run_handler();
    co_await finish();
    if (!exchange_.keep_alive) break;
  }
  co_await drain();
}

net::awaitable<error_code> Connection::read_head_in_time() {
  // An idle connection may stay; one that has begun a request must go on with it.
  if (buffer_.size() == 0) {
    const error_code error = co_await async::wait_until_ready(socket_, StreamSocket::wait_read);
    if (error) co_return error;
  }
  context_.activity.enter(Activity::State::kHead);
  net::steady_timer deadline(socket_.get_executor(), context_.timeouts.head);
  const auto first =
      co_await (beast::http::async_read_header(socket_, buffer_, *parser_, async::kTuple) ||
                deadline.async_wait(async::kTuple));
  if (first.index() == 1) co_return net::error::timed_out;
  co_return std::get<0>(std::get<0>(first));
}

net::awaitable<bool> Connection::read_head() {
  exchange_ = {};
  request_ = Request();
  websocket_.reset();
  parser_.emplace();
  parser_->header_limit(kMaxHead);
  parser_->body_limit(boost::none);
  parser_->eager(false);
  context_.activity.enter(Activity::State::kIdle);
  buffer_.shrink_to_fit();  // a connection that waits has no memory of its last body

  const error_code error = co_await read_head_in_time();
  if (error == beast::http::error::header_limit) {
    co_await try_respond(error_response(Status::kHeadersTooLarge, "request headers are too large"));
    co_return false;
  }
  if (error.category() == beast::http::make_error_code(beast::http::error::bad_method).category() &&
      error != beast::http::error::end_of_stream && error != beast::http::error::partial_message) {
    co_await try_respond(error_response(Status::kBadRequest, "malformed HTTP request"));
    co_return false;
  }
  if (error) co_return false;
  if (const Result<void> accepted = accept_head(); !accepted) {
    exchange_.keep_alive = false;
    co_await try_respond(error_response(accepted.error()));
    co_return false;
  }
  co_return true;
}

Result<void> Connection::accept_head() {
  const auto& message = parser_->get();
  request_.method = std::string(message.method_string());
  for (const auto& field : message)
    request_.headers.add(std::string(field.name_string()), std::string(field.value()));
  auto target = parse_target(std::string_view(message.target().data(), message.target().size()));
  if (!target) return std::move(target).error();
  request_.version = target->version;
  request_.path = std::move(target->path);
  request_.query = std::move(target->query);
  RETURN_IF_ERROR(check_framing(request_.headers, message));
  exchange_.keep_alive = parser_->keep_alive();
  exchange_.expects_continue =
      base::equals_ignoring_case(request_.headers.get("Expect").value_or(""), "100-continue");
  return {};
}

net::awaitable<void> Connection::run_handler() {
  context_.activity.enter(Activity::State::kServing);
  body_since_ = 0;
  body_deadline_.expires_after(context_.timeouts.body);
  // Whichever ends first cancels the other: a client that left cancels its handler.
  co_await (call_router() || watch_client());
}

net::awaitable<void> Connection::call_router() {
  std::string failure;
  try {
    co_await context_.router.serve(*this);
    co_return;
  } catch (const boost::system::system_error& error) {
    if (error.code() == net::error::operation_aborted) {
      exchange_.keep_alive = false;
      co_return;
    }
    failure = error.what();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  spdlog::error("{} {}: {}", request_.method, request_.path, failure);
  exchange_.keep_alive = false;
  if (!exchange_.answered) co_await try_respond(error_response(Status::kInternalError, failure));
}

/// Completes when the client has left while its request is being served. A half-close is not
/// leaving, unless the handler said so: simple clients send a request, close their side and read
/// the answer.
net::awaitable<void> Connection::watch_client() {
  co_await (hung_up() || watch_input());
  if (exchange_.hijacked) co_await never_.wait();  // the handler asks for it by itself
}

void Connection::break_off() {
  exchange_.broken_off = true;
  exchange_.keep_alive = false;
}

void Connection::end_with_input() {
  exchange_.input_matters = true;
  input_matters_changed_.notify_all();
}

/// Completes when the input has ended after end_with_input().
net::awaitable<void> Connection::watch_input() {
  while (!exchange_.input_matters) co_await input_matters_changed_.wait();
  char next{};
  // If a byte of a next request comes instead of the end, the client is still there.
  const bool more = buffer_.size() > 0 || !parser_->is_done();
  if (more) co_await never_.wait();
  co_await async::wait_until_ready(socket_, StreamSocket::wait_read);
  const ssize_t size = ::recv(socket_.native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  if (size > 0) co_await never_.wait();
}

net::awaitable<void> Connection::peer_gone() {
  if (!websocket_) co_return co_await hung_up();
  std::array<std::byte, 4096> unwanted{};
  for (;;) {
    const auto size = co_await websocket_->read_some(unwanted);
    if (!size) co_return;
  }
}

net::awaitable<void> Connection::hung_up() {
  // For a unix socket a hang-up means closed in both directions.
  co_await async::wait_until_ready(socket_, StreamSocket::wait_error);
}

net::awaitable<Result<std::size_t>> Connection::read_raw(std::span<std::byte> out) {
  if (buffer_.size() > 0) {
    const std::size_t size = net::buffer_copy(net::buffer(out.data(), out.size()), buffer_.data());
    buffer_.consume(size);
    co_return size;
  }
  const auto [error, size] =
      co_await socket_.async_read_some(net::buffer(out.data(), out.size()), async::kTuple);
  if (error == net::error::eof) co_return std::size_t{0};
  if (error) co_return Error{Code::kUnavailable, "client connection: " + error.message()};
  co_return size;
}

/// Reads some of the body; timed_out if too little comes before the deadline.
net::awaitable<error_code> Connection::read_body_piece(net::mutable_buffer out,
                                                       std::size_t& taken) {
  auto& body = parser_->get().body();
  body.data = out.data();
  body.size = out.size();
  context_.activity.enter(Activity::State::kBody);
  // Beast reads as much as the buffer has room for without growing: 512 bytes after a short head.
  buffer_.reserve(std::min(out.size(), kMaxBodyRead));
  const auto first =
      co_await (beast::http::async_read_some(socket_, buffer_, *parser_, async::kTuple) ||
                body_deadline_.async_wait(async::kTuple));
  context_.activity.enter(Activity::State::kServing);
  taken = out.size() - body.size;
  if (first.index() == 1) co_return net::error::timed_out;
  body_since_ += taken;
  if (body_since_ >= kBodyProgress) {
    body_since_ = 0;
    body_deadline_.expires_after(context_.timeouts.body);
  }
  co_return std::get<0>(std::get<0>(first));
}

net::awaitable<Result<std::size_t>> Connection::read_some(std::span<std::byte> out) {
  if (out.empty()) co_return std::size_t{0};
  if (websocket_) co_return co_await websocket_->read_some(out);
  if (exchange_.hijacked) co_return co_await read_raw(out);
  if (parser_->is_done()) co_return std::size_t{0};
  if (std::exchange(exchange_.expects_continue, false)) {
    RETURN_IF_ERROR_ASYNC(co_await send("HTTP/1.1 100 Continue\r\n\r\n", {}));
  }
  for (;;) {
    std::size_t taken = 0;
    const error_code error = co_await read_body_piece(net::buffer(out.data(), out.size()), taken);
    if (error == net::error::timed_out) {
      exchange_.keep_alive = false;
      co_return Error{Code::kDeadlineExceeded, "the request's body did not arrive in time"};
    }
    if (error && error != beast::http::error::need_buffer) {
      exchange_.keep_alive = false;
      const bool broken =
          error == beast::http::error::partial_message ||
          error.category() !=
              beast::http::make_error_code(beast::http::error::bad_chunk).category();
      co_return Error{broken ? Code::kUnavailable : Code::kInvalidArgument,
                      "request body: " + error.message()};
    }
    if (taken > 0 || parser_->is_done()) co_return taken;
  }
}

/// What a client sends with a request that hijacks the connection is that request's body, and no
/// part of the stream that follows.
net::awaitable<Result<void>> Connection::skip_body() {
  if (parser_->is_done()) co_return Result<void>();
  body_deadline_.expires_after(context_.timeouts.skipped_body);
  std::array<std::byte, 4096> unwanted{};
  for (std::size_t total = 0; !parser_->is_done();) {
    const auto size = co_await read_some(unwanted);
    if (!size) co_return size.error();
    total += *size;
    body_since_ = 0;  // all of it comes by one deadline
    if (total > kMaxSkippedBody)
      co_return Error{Code::kResourceExhausted, "http: request body too large"};
  }
  co_return Result<void>();
}

std::string Connection::head_of(const Response& response, std::string_view framing) const {
  std::string head = "HTTP/1.1 " + std::to_string(static_cast<int>(response.status)) + " ";
  head += reason_of(response.status);
  head += "\r\n";
  head += context_.fixed_headers;
  if (!response.content_type.empty()) head += "Content-Type: " + response.content_type + "\r\n";
  for (const auto& [name, value] : response.headers.all()) head += name + ": " + value + "\r\n";
  head += date_header();
  head += framing;
  head += "\r\n";
  return head;
}

net::awaitable<Result<void>> Connection::send(std::string head, std::string_view body) {
  const std::array<net::const_buffer, 2> parts{net::buffer(head),
                                               net::buffer(body.data(), body.size())};
  const auto [error, size] = co_await net::async_write(socket_, parts, async::kTuple);
  if (error) {
    exchange_.keep_alive = false;
    co_return Error{Code::kUnavailable, "client connection: " + error.message()};
  }
  co_return Result<void>();
}

/// A client that does not take its answer must not keep it in memory for ever.
net::awaitable<Result<void>> Connection::send_in_time(std::string head, std::string_view body) {
  net::steady_timer deadline(socket_.get_executor(),
                             context_.timeouts.answer + std::chrono::seconds(body.size() >> 16));
  auto sending = send(std::move(head), body);
  const auto first = co_await (std::move(sending) || deadline.async_wait(async::kTuple));
  if (first.index() == 0) co_return std::get<0>(first);
  exchange_.keep_alive = false;
  co_return Error{Code::kDeadlineExceeded, "the client did not read its answer in time"};
}

net::awaitable<Result<void>> Connection::respond(Response response) {
  if (exchange_.answered) co_return Error{Code::kInternal, "a second answer to one request"};
  exchange_.answered = true;
  const bool bodiless =
      response.status == Status::kNoContent || response.status == Status::kNotModified;
  std::string framing;
  if (!bodiless) framing = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  if (!exchange_.keep_alive) framing += "Connection: close\r\n";
  const bool send_body = !bodiless && request_.method != "HEAD";
  co_return co_await send_in_time(head_of(response, framing),
                                  send_body ? std::string_view(response.body) : std::string_view());
}

/// Sends the last answer of a connection. If that fails the client has gone, and nobody minds.
net::awaitable<void> Connection::try_respond(Response response) {
  [[maybe_unused]] const auto sent = co_await respond(std::move(response));
}

net::awaitable<Result<void>> Connection::begin_stream(Response head) {
  if (exchange_.answered) co_return Error{Code::kInternal, "a second answer to one request"};
  exchange_.answered = exchange_.streaming = true;
  exchange_.chunked = parser_->get().version() >= 11;
  if (!exchange_.chunked) exchange_.keep_alive = false;
  std::string framing = exchange_.chunked ? "Transfer-Encoding: chunked\r\n" : "";
  if (!exchange_.keep_alive) framing += "Connection: close\r\n";
  RETURN_IF_ERROR_ASYNC(co_await send(head_of(head, framing), {}));
  co_return co_await write(std::string_view(head.body));
}

net::awaitable<Result<void>> Connection::hijack(std::string content_type) {
  if (exchange_.answered) co_return Error{Code::kInternal, "a second answer to one request"};
  exchange_.keep_alive = false;
  RETURN_IF_ERROR_ASYNC(co_await skip_body());
  exchange_.answered = exchange_.hijacked = true;
  const bool upgrade = has_token(request_.headers.get("Connection").value_or(""), "upgrade") &&
                       request_.headers.get("Upgrade").has_value();
  if (!upgrade) content_type = "application/vnd.docker.raw-stream";
  Response head{.status = upgrade ? Status::kSwitchingProtocols : Status::kOk,
                .content_type = std::move(content_type),
                .body = {},
                .headers = {}};
  std::string framing = upgrade ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "";
  co_return co_await send(head_of(head, framing), {});
}

net::awaitable<Result<void>> Connection::accept_websocket(bool binary) {
  if (exchange_.answered) co_return Error{Code::kInternal, "a second answer to one request"};
  RETURN_IF_ERROR_ASYNC(WebSocket::check(parser_->get()));
  RETURN_IF_ERROR_ASYNC(co_await skip_body());
  if (buffer_.size() > 0)
    co_return Error{Code::kInvalidArgument, "a websocket client waits for the answer"};
  exchange_.answered = exchange_.hijacked = true;
  exchange_.keep_alive = false;
  websocket_.emplace(socket_);
  WebSocket::RequestHead head = parser_->get();
  co_return co_await websocket_->accept(std::move(head), binary, context_.fixed_headers);
}

net::awaitable<Result<void>> Connection::write(std::span<const std::byte> head,
                                               std::span<const std::byte> bytes) {
  const std::size_t size = head.size() + bytes.size();
  if (size == 0) co_return Result<void>();
  if (websocket_) co_return co_await write_message(head, bytes);
  if (!exchange_.streaming && !exchange_.hijacked)
    co_return Error{Code::kInternal, "no answer has begun"};
  if (exchange_.streaming && request_.method == "HEAD") co_return Result<void>();
  std::array<char, 24> size_line{};
  int size_length = 0;
  if (exchange_.streaming && exchange_.chunked)
    size_length = std::snprintf(size_line.data(), size_line.size(), "%zx\r\n", size);
  const std::array<net::const_buffer, 4> parts{
      net::buffer(size_line.data(), static_cast<std::size_t>(size_length)),
      net::buffer(head.data(), head.size()), net::buffer(bytes.data(), bytes.size()),
      net::buffer("\r\n", size_length > 0 ? 2 : 0)};
  const auto [error, written] = co_await net::async_write(socket_, parts, async::kTuple);
  if (error) {
    exchange_.keep_alive = false;
    co_return Error{Code::kUnavailable, "client connection: " + error.message()};
  }
  co_return Result<void>();
}

/// A websocket takes one buffer for a message.
net::awaitable<Result<void>> Connection::write_message(std::span<const std::byte> head,
                                                       std::span<const std::byte> bytes) {
  if (head.empty()) co_return co_await websocket_->write(bytes);
  std::vector<std::byte> message(head.begin(), head.end());
  message.insert(message.end(), bytes.begin(), bytes.end());
  co_return co_await websocket_->write(message);
}

/// After the handler: ends a streamed answer and makes the connection ready for the next request.
net::awaitable<void> Connection::finish() {
  if (websocket_) co_return co_await websocket_->close();
  if (exchange_.streaming && exchange_.chunked && !exchange_.broken_off &&
      request_.method != "HEAD" && socket_.is_open()) {
    [[maybe_unused]] const auto sent = co_await send("0\r\n\r\n", {});  // an Error ends keep_alive
  }
  if (!exchange_.answered) exchange_.keep_alive = false;
  if (exchange_.keep_alive && !parser_->is_done()) {
    // The handler left some of the body unread: a little is skipped, much closes the connection.
    std::array<std::byte, 4096> rest{};
    std::size_t total = 0;
    body_deadline_.expires_after(context_.timeouts.skipped_body);
    while (total < 256u << 10) {
      const auto size = co_await read_some(rest);
      if (!size || *size == 0) break;
      total += *size;
    }
    if (!parser_->is_done()) exchange_.keep_alive = false;
  }
}

/// Closes our side and reads on for a moment: closing a socket with unread input would take the
/// answer away from a client that is still sending.
net::awaitable<void> Connection::drain() {
  context_.activity.enter(Activity::State::kIdle);  // nothing is lost if it has to make way
  error_code ignored;
  socket_.shutdown(StreamSocket::shutdown_send, ignored);
  net::steady_timer deadline(socket_.get_executor(), kDrainTimeout);
  std::array<char, 4096> rest{};
  std::size_t total = 0;
  while (total < kMaxDrain) {
    const auto first = co_await (socket_.async_read_some(net::buffer(rest), async::kTuple) ||
                                 deadline.async_wait(async::kTuple));
    if (first.index() == 1) break;
    const auto& [error, size] = std::get<0>(first);
    if (error) break;
    total += size;
  }
  socket_.close(ignored);
}

}  // namespace

net::awaitable<void> serve_connection(StreamSocket socket, ConnectionContext context) {
  const auto connection = std::make_unique<Connection>(std::move(socket), std::move(context));
  try {
    co_await connection->serve();
  } catch (const boost::system::system_error& error) {
    if (error.code() != net::error::operation_aborted)
      spdlog::error("client connection: {}", error.what());
  } catch (const std::exception& error) {
    spdlog::error("client connection: {}", error.what());
  }
}

}  // namespace http
