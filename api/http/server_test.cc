// A server in a thread of its own, a client of plain blocking sockets.
#include "api/http/server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/async/notifier.h"
#include "vmm/base/seqpacket.h"

namespace http {
namespace {

using base::Result;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

net::awaitable<Response> echo(Request request) {
  co_return text(Status::kOk, request.method + " " + request.path + " " + request.body);
}

net::awaitable<Response> post_json(Request request) {
  const auto value = request.json();
  if (!value) co_return error_response(value.error());
  co_return json(Status::kCreated, *value);
}

net::awaitable<Response> fail(Request) { throw std::runtime_error("broken handler"); }

net::awaitable<void> count_bytes(Exchange& exchange) {
  std::vector<std::byte> piece(4096);
  std::size_t total = 0;
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size) {
      Response refusal = body_error_response(size.error());
      co_await exchange.respond(std::move(refusal));
      co_return;
    }
    if (*size == 0) break;
    total += *size;
  }
  Response head{.content_type = "text/plain"};
  co_await exchange.begin_stream(std::move(head));
  co_await exchange.write("total ");
  co_await exchange.write(std::to_string(total));
}

/// Echoes what comes until the client's half-close, then says "end".
net::awaitable<void> hijacked_echo(Exchange& exchange) {
  const auto hijacked = co_await exchange.hijack("application/vnd.docker.multiplexed-stream");
  if (!hijacked) {
    Response refusal = body_error_response(hijacked.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  std::vector<std::byte> piece(16);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size || *size == 0) break;
    co_await exchange.write(std::span<const std::byte>(piece).first(*size));
  }
  co_await exchange.write("end");
}

net::awaitable<void> broken_off(Exchange& exchange) {
  Response head{.content_type = "text/plain"};
  co_await exchange.begin_stream(std::move(head));
  co_await exchange.write("half");
  exchange.break_off();
}

/// Echoes messages until "bye".
net::awaitable<void> websocket_echo(Exchange& exchange) {
  const auto accepted = co_await exchange.accept_websocket(true);
  if (!accepted) {
    co_await exchange.respond(error_response(accepted.error()));
    co_return;
  }
  std::vector<std::byte> piece(4096);
  for (;;) {
    const auto size = co_await exchange.read_some(piece);
    if (!size) co_return;
    const auto bytes = std::span<const std::byte>(piece).first(*size);
    if (bytes.size() == 3 && bytes[0] == std::byte{'b'}) co_return;
    co_await exchange.write(bytes);
  }
}

/// Ends while it waits for the client.
net::awaitable<void> websocket_that_ends(Exchange& exchange) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  co_await exchange.accept_websocket(true);
  co_await exchange.write("output");
  co_await (exchange.peer_gone() || net::post(executor, net::use_awaitable));
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() : ServerTest({.limits = {.connections = 2}, .fixed_headers = "Server: test\r\n"}) {}

  explicit ServerTest(Server::Options options)
      : forever_(io_.get_executor()), never_(io_.get_executor()) {
    router_.add("GET", "/echo", echo);
    router_.add("HEAD", "/echo", echo);
    router_.add("POST", "/echo", echo);
    router_.add("POST", "/json", post_json);
    router_.add("GET", "/fail", fail);
    router_.add_stream("POST", "/count", count_bytes);
    router_.add_stream("POST", "/hijack", hijacked_echo);
    router_.add_stream("GET", "/broken", broken_off);

    router_.add_stream("GET", "/ws", websocket_echo);
    router_.add_stream("GET", "/ws-end", websocket_that_ends);
    router_.add_stream("GET", "/endless", [this](Exchange& exchange) { return endless(exchange); });
    router_.add("GET", "/hang", [this](Request request) { return hang(std::move(request)); });
    router_.use_spool(io_.get_executor(), spool_, pool_);
    server_ = std::make_unique<Server>(io_.get_executor(), router_, std::move(options));
    thread_ = std::jthread([this] { io_.run(); });
  }

  ~ServerTest() override {
    std::promise<void> stopped;
    net::co_spawn(io_, server_->stop(), [&](const std::exception_ptr&) { stopped.set_value(); });
    stopped.get_future().wait();
    forever_.reset();
  }

  struct OnExit {
    std::promise<void>& ended;
    ~OnExit() { ended.set_value(); }
  };

  net::awaitable<void> endless(Exchange& exchange) {
    const OnExit on_exit{hang_ended_};
    exchange.end_with_input();
    Response head{.content_type = "text/plain"};
    co_await exchange.begin_stream(std::move(head));
    co_await never_.wait();
  }

  net::awaitable<Response> hang(Request) {
    const OnExit on_exit{hang_ended_};
    hanging_.set_value();
    co_await never_.wait();
    co_return empty(Status::kOk);
  }

  /// A connection, with `early` in it before the server sees it.
  base::UniqueFd connect(std::string_view early = "") {
    auto pair = base::make_socket_pair(SOCK_STREAM);
    send_text(pair->first, early);
    net::post(io_, [this, fd = std::make_shared<base::UniqueFd>(std::move(pair->second))] {
      server_->adopt(std::move(*fd));
    });
    return std::move(pair->first);
  }

  static void send_text(const base::UniqueFd& socket, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Reads until `stop` was seen or the server closed.
  static std::string receive(const base::UniqueFd& socket, std::string_view stop = "\xff never") {
    std::string all;
    char piece[4096];
    while (all.find(stop) == std::string::npos) {
      const ssize_t size = ::recv(socket.get(), piece, sizeof piece, 0);
      if (size <= 0) break;
      all.append(piece, static_cast<std::size_t>(size));
    }
    return all;
  }

  /// One request on a connection of its own, the whole answer.
  std::string exchange(std::string_view request) {
    const base::UniqueFd socket = connect();
    send_text(socket, request);
    ::shutdown(socket.get(), SHUT_WR);
    return receive(socket);
  }

  /// A connection whose websocket handshake was accepted.
  base::UniqueFd open_websocket() {
    base::UniqueFd socket = connect();
    send_text(socket, kHandshake);
    const std::string head = receive(socket, "\r\n\r\n");
    // The example of RFC 6455.
    EXPECT_NE(head.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
              std::string::npos)
        << head;
    EXPECT_TRUE(head.starts_with("HTTP/1.1 101 ")) << head;
    EXPECT_NE(head.find("Server: test\r\n"), std::string::npos) << head;
    return socket;
  }
  static constexpr std::string_view kHandshake =
      "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

  /// A client's frame: `first` is FIN and the opcode; the mask is zero, which changes nothing.
  static std::string frame(int first, std::string_view payload) {
    std::string text{static_cast<char>(first), static_cast<char>(0x80 | payload.size())};
    return text + std::string(4, '\0') + std::string(payload);
  }

  async::BlockingPool pool_{1};
  Spool spool_{pool_, "/tmp"};
  net::io_context io_;
  net::executor_work_guard<net::io_context::executor_type> forever_;
  async::Notifier never_;
  std::promise<void> hanging_;
  std::promise<void> hang_ended_;
  Router router_;
  std::unique_ptr<Server> server_;
  std::jthread thread_;
};

TEST_F(ServerTest, AnswersWithTheFixedHeadersAndTheLength) {
  const std::string answer = exchange("GET /v1.40/echo HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\nServer: test\r\n")) << answer;
  EXPECT_NE(answer.find("Content-Length: 10\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\nGET /echo ")) << answer;
}

TEST_F(ServerTest, KeepsTheConnectionForTheNextRequest) {
  const auto socket = connect();

  send_text(socket, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string first = receive(socket, "GET /echo ");
  send_text(socket, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  const std::string second = receive(socket, "hi");

  EXPECT_TRUE(first.ends_with("GET /echo ")) << first;
  EXPECT_TRUE(second.ends_with("POST /echo hi")) << second;
}

TEST_F(ServerTest, ServesPipelinedRequestsInOrder) {
  const std::string answer = exchange(
      "GET /echo HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\n"
      "Content-Length: 1\r\nConnection: close\r\n\r\nz");

  EXPECT_NE(answer.find("GET /echo HTTP/1.1 200 OK"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("POST /echo z")) << answer;
}

TEST_F(ServerTest, SendsNoBodyForHead) {
  const std::string answer = exchange("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_NE(answer.find("Content-Length: 11\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST_F(ServerTest, AnswersAnUnknownRouteAsDockerDoes) {
  const std::string answer = exchange("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 Not Found\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("{\"message\":\"page not found\"}\n")) << answer;
}

TEST_F(ServerTest, RefusesAVersionOutOfRange) {
  const std::string answer = exchange("GET /v1.60/echo HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << answer;
  EXPECT_NE(answer.find("client version 1.60 is too new"), std::string::npos) << answer;
}

TEST_F(ServerTest, ReadsAChunkedBodyAndStreamsTheAnswer) {
  const std::string answer = exchange(
      "POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n3;ext=1\r\nabc\r\n0\r\n\r\n");

  EXPECT_NE(answer.find("Transfer-Encoding: chunked\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("6\r\ntotal \r\n1\r\n8\r\n0\r\n\r\n")) << answer;
}

TEST_F(ServerTest, StreamsABodyLargerThanAnyBuffer) {
  constexpr std::size_t kSize = 32u << 20;
  const auto socket = connect();
  std::jthread sender([&] {
    send_text(socket, "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                          std::to_string(kSize) + "\r\n\r\n");
    const std::string piece(1u << 20, 'x');
    for (std::size_t sent = 0; sent < kSize; sent += piece.size()) send_text(socket, piece);
  });

  const std::string answer = receive(socket, "0\r\n\r\n");

  EXPECT_NE(answer.find(std::to_string(kSize)), std::string::npos) << answer;
}

TEST_F(ServerTest, Sends100ContinueWhenTheBodyIsWanted) {
  const auto socket = connect();

  send_text(socket,
            "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  const std::string interim = receive(socket, "\r\n\r\n");
  send_text(socket, "ok");
  const std::string answer = receive(socket, "POST /echo ok");

  EXPECT_EQ(interim, "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("POST /echo ok")) << answer;
}

TEST_F(ServerTest, RefusesABodyLargerThanAHandlerTakes) {
  const auto socket = connect();
  send_text(socket, "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n");
  std::jthread sender([&] { send_text(socket, std::string(Router::kMaxBody + 4096, 'x')); });

  const std::string answer = receive(socket, "too large");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
}

TEST_F(ServerTest, RefusesAHeadThatIsTooLarge) {
  const std::string answer =
      exchange("GET /echo HTTP/1.1\r\nHost: x\r\nX: " + std::string(200u << 10, 'y') + "\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 431 ")) << answer;
}

TEST_F(ServerTest, AnswersMalformedRequestsWith400) {
  for (const char* request :
       {"nonsense\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        "GET /echo HTTP/9.9\r\n\r\n",
        "GET /echo HTTP/1.1\r\nbad\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: zz\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
        "0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
        "POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"}) {
    const std::string answer = exchange(request);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << request << answer;
  }
}

TEST_F(ServerTest, RefusesJsonOfTheWrongTypeOrForm) {
  const auto post = [&](std::string_view type, std::string_view body) {
    return exchange("POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: " + std::string(type) +
                    "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                    std::string(body));
  };

  EXPECT_TRUE(post("application/json", "{\"a\":1}").starts_with("HTTP/1.1 201 "));
  EXPECT_TRUE(post("text/plain", "{}").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(post("application/json", "").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(post("application/json", "{\"a\":").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(post("application/json", std::string(100000, '[')).starts_with("HTTP/1.1 400 "));
}

TEST_F(ServerTest, TakesALargeBodyWholeButNotManyValues) {
  const auto post = [&](const std::string& body) {
    return exchange(
        "POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const std::string text = "[\"" + std::string(2u << 20, 'x') + ",,[[{{" + "\"]";
  std::string values = "[0";
  for (int i = 0; i < 200'000; ++i) values += ",0";

  const std::string whole = post(text);
  const std::string refused = post(values + "]");

  EXPECT_TRUE(whole.starts_with("HTTP/1.1 201 ")) << whole.substr(0, 200);
  EXPECT_TRUE(whole.ends_with("\r\n\r\n" + text + "\n"));
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 400 ")) << refused;
  EXPECT_NE(refused.find("too many values"), std::string::npos) << refused;
}

TEST_F(ServerTest, LargeBodiesThatStopHalfwayKeepNoOtherOut) {
  const std::string head =
      "POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
  const auto stalled = connect(head + "1000000\r\n\r\n[" + std::string(100'000, ' '));

  for (std::size_t i = 0; i < 2 * Router::kLargeBodies; ++i) {
    const std::string body = "[" + std::string(100'000, ' ') + "]";
    const std::string answer = exchange(head + std::to_string(body.size()) + "\r\n\r\n" + body);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 201 ")) << answer;
  }
}

TEST_F(ServerTest, TurnsAThrowingHandlerInto500) {
  const std::string answer = exchange("GET /fail HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
  EXPECT_NE(answer.find("broken handler"), std::string::npos) << answer;
}

TEST_F(ServerTest, UpgradesAHijackedConnectionWith101) {
  const auto socket = connect();

  send_text(socket,
            "POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly");
  const std::string head = receive(socket, "early");
  send_text(socket, " late");
  ::shutdown(socket.get(), SHUT_WR);
  const std::string rest = receive(socket);

  EXPECT_TRUE(head.starts_with("HTTP/1.1 101 UPGRADED\r\n")) << head;
  EXPECT_NE(head.find("Connection: Upgrade\r\nUpgrade: tcp\r\n"), std::string::npos) << head;
  EXPECT_NE(head.find("Content-Type: application/vnd.docker.multiplexed-stream\r\n"),
            std::string::npos);
  EXPECT_EQ(rest, " lateend");
}

TEST_F(ServerTest, HijacksWithoutUpgradeHeadersAsA200) {
  const std::string answer = exchange("POST /hijack HTTP/1.1\r\nHost: x\r\n\r\nabc");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_NE(answer.find("Content-Type: application/vnd.docker.raw-stream\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\nabcend")) << answer;
}

TEST_F(ServerTest, ABodyIsNoPartOfTheHijackedStream) {
  const std::string head = "POST /hijack HTTP/1.1\r\nHost: x\r\n";
  const std::string upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
  const std::string of_length = "Content-Length: 7\r\n\r\n{\"a\":1}";
  const std::string chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";

  for (const std::string& request :
       {head + upgrade + of_length, head + of_length, head + upgrade + chunked, head + chunked}) {
    const std::string answer = exchange(request + "input");

    EXPECT_TRUE(answer.ends_with("\r\n\r\ninputend")) << request << answer;
  }
}

TEST_F(ServerTest, WaitsForABodyBeforeTheHijackedStream) {
  const auto socket = connect();

  send_text(socket, "POST /hijack HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
  exchange("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  send_text(socket, "dyinput");
  ::shutdown(socket.get(), SHUT_WR);
  const std::string answer = receive(socket);

  EXPECT_TRUE(answer.ends_with("\r\n\r\ninputend")) << answer;
}

TEST_F(ServerTest, RefusesToHijackWithAHugeBody) {
  const auto socket = connect();
  send_text(socket, "POST /hijack HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n");
  std::jthread sender([&] { send_text(socket, std::string(kMaxSkippedBody + 8192, 'x')); });

  const std::string answer = receive(socket, "too large");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
}

TEST_F(ServerTest, ABodyIsNoPartOfTheWebsocket) {
  const auto socket = connect();
  std::string handshake(kHandshake);
  handshake.insert(handshake.size() - 2, "Content-Length: 2\r\n");

  send_text(socket, handshake + "{}");
  const std::string head = receive(socket, "\r\n\r\n");
  send_text(socket, frame(0x81, "text"));

  EXPECT_TRUE(head.starts_with("HTTP/1.1 101 ")) << head;
  EXPECT_EQ(receive(socket, "text"), "\x82\x04text");
}

TEST_F(ServerTest, CarriesMessagesOverAWebsocket) {
  const auto socket = open_websocket();

  send_text(socket, frame(0x81, "text"));
  const std::string first = receive(socket, "text");
  send_text(socket, frame(0x02, "in ") + frame(0x80, "two"));
  const std::string second = receive(socket, "two");

  EXPECT_EQ(first, "\x82\x04text");
  EXPECT_TRUE(second == "\x82\x03in \x82\x03two" || second == "\x82\x06in two") << second;
}

TEST_F(ServerTest, AnswersPingsAndSkipsEmptyMessages) {
  const auto socket = open_websocket();

  send_text(socket, frame(0x81, "") + frame(0x89, "p") + frame(0x81, "x"));
  const std::string answer = receive(socket, "\x82\x01x");

  EXPECT_EQ(answer, "\x8a\x01p\x82\x01x");
}

TEST_F(ServerTest, ClosesAWebsocketWithItsHandler) {
  const auto socket = open_websocket();

  send_text(socket, frame(0x82, "bye"));

  EXPECT_EQ(receive(socket), std::string("\x88\x02\x03\xe8", 4));
}

TEST_F(ServerTest, ClosesAWebsocketThatWaitsForItsClient) {
  const auto socket = connect();
  std::string handshake(kHandshake);
  handshake.replace(handshake.find("/ws"), 3, "/ws-end");

  send_text(socket, handshake);
  const std::string answer = receive(socket);

  EXPECT_TRUE(answer.ends_with(std::string("\x82\x06output\x88\x02\x03\xe8", 12))) << answer;
}

TEST_F(ServerTest, AnswersTheClientsClose) {
  const auto socket = open_websocket();

  send_text(socket, frame(0x88, "\x03\xe8"));

  EXPECT_EQ(receive(socket), std::string("\x88\x02\x03\xe8", 4));
}

TEST_F(ServerTest, RefusesHostileWebsocketFrames) {
  const std::string protocol_error("\x88\x02\x03\xea", 4);
  const std::string too_big("\x88\x02\x03\xf1", 4);
  const std::string huge = std::string("\x82\xff\0\0\1\0\0\0\0\0", 10) + std::string(4, '\0');
  const std::vector<std::pair<std::string, std::string>> cases{
      {"\x81\x01x", protocol_error},                       // not masked
      {frame(0x83, "x"), protocol_error},                  // an opcode that does not exist
      {frame(0xc1, "x"), protocol_error},                  // a reserved bit
      {frame(0x09, "x"), protocol_error},                  // a ping in fragments
      {frame(0x80, "x"), protocol_error},                  // goes on with nothing
      {frame(0x88, std::string(1, 'x')), protocol_error},  // half a status code
      {huge, too_big}};

  for (const auto& [sent, expected] : cases) {
    const auto socket = open_websocket();
    send_text(socket, sent);
    EXPECT_EQ(receive(socket), expected) << sent;
  }
}

TEST_F(ServerTest, RefusesWhatIsNoWebsocketHandshake) {
  const std::string plain = exchange("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n");
  std::string old(kHandshake);
  old.replace(old.find("13\r\n"), 2, "12");
  const std::string version = exchange(old);
  const std::string early = exchange(std::string(kHandshake) + "early");

  EXPECT_TRUE(plain.starts_with("HTTP/1.1 400 ")) << plain;
  EXPECT_TRUE(version.starts_with("HTTP/1.1 400 ")) << version;
  EXPECT_TRUE(early.starts_with("HTTP/1.1 400 ")) << early;
}

TEST_F(ServerTest, CancelsTheHandlerOfAClientThatLeft) {
  {
    const auto socket = connect();
    send_text(socket, "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
    hanging_.get_future().wait();
  }

  hang_ended_.get_future().wait();
}

TEST_F(ServerTest, ClosesInTheMiddleOfAnAnswerThatIsBrokenOff) {
  const std::string answer = exchange("GET /broken HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_NE(answer.find("half"), std::string::npos) << answer;
  EXPECT_FALSE(answer.ends_with("0\r\n\r\n")) << answer;
}

TEST_F(ServerTest, EndsAnEndlessAnswerWithTheClientsInput) {
  const auto socket = connect();
  send_text(socket, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
  receive(socket, "\r\n\r\n");

  ::shutdown(socket.get(), SHUT_WR);

  hang_ended_.get_future().wait();
  receive(socket);  // returns: the server closed
}

TEST_F(ServerTest, AnEndlessAnswerOutlivesAPipelinedRequest) {
  const auto socket = connect();
  send_text(socket, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
  receive(socket, "\r\n\r\n");

  send_text(socket, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  exchange("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  auto ended = hang_ended_.get_future();

  EXPECT_EQ(ended.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
}

TEST_F(ServerTest, RefusesMoreConnectionsThanItMayServe) {
  const auto first = connect();
  send_text(first, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
  receive(first, "\r\n\r\n");
  const auto second = open_websocket();

  const std::string answer = receive(connect());

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
}

TEST_F(ServerTest, AConnectionWithoutARequestMakesWayForANewOne) {
  const auto busy = open_websocket();
  const auto idle = connect();

  const std::string answer = exchange("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
  EXPECT_EQ(receive(idle), "");  // closed
  send_text(busy, frame(0x81, "text"));
  EXPECT_EQ(receive(busy, "text"), "\x82\x04text");
}

/// The same with little patience.
class ImpatientServerTest : public ServerTest {
 protected:
  static constexpr std::chrono::milliseconds kSoon{20};

  ImpatientServerTest()
      : ServerTest({.limits = {.connections = 8, .crowded = 0, .idle_when_crowded = kSoon},
                    .timeouts = {.head = kSoon, .body = kSoon, .skipped_body = kSoon}}) {}
};

TEST_F(ImpatientServerTest, ClosesAnIdleConnection) {
  const auto fresh = connect();
  const auto used = connect("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");

  EXPECT_EQ(receive(fresh), "");
  EXPECT_TRUE(receive(used).ends_with("GET /echo "));
}

TEST_F(ImpatientServerTest, ClosesAConnectionWhoseHeadDoesNotCome) {
  const auto socket = connect("GET /echo HTTP/1.1\r\nX: ");

  EXPECT_EQ(receive(socket), "");
}

TEST_F(ImpatientServerTest, RefusesARequestWhoseBodyDoesNotCome) {
  for (const char* path : {"/json", "/count", "/hijack"}) {
    const auto socket = connect("POST " + std::string(path) +
                                " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                "Content-Length: 9\r\n\r\n{");

    const std::string answer = receive(socket);

    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << path << answer;
  }
}

TEST_F(ImpatientServerTest, KeepsAConnectionThatIsServed) {
  const auto socket = connect(kHandshake);
  receive(socket, "\r\n\r\n");

  receive(connect());  // closed: those that are idle have been looked for
  send_text(socket, frame(0x81, "text"));

  EXPECT_EQ(receive(socket, "text"), "\x82\x04text");
}

class ListenUnixTest : public testing::Test {
 protected:
  ListenUnixTest() {
    char name[] = "/tmp/containervm-http-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~ListenUnixTest() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_;
};

TEST_F(ListenUnixTest, ReplacesASocketFileNobodyListensOn) {
  ASSERT_TRUE(listen_unix(directory_ / "s"));

  const auto again = listen_unix(directory_ / "s");

  ASSERT_TRUE(again);
  struct stat status {};
  ASSERT_EQ(::stat((directory_ / "s").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0660u);
}

TEST_F(ListenUnixTest, RefusesASocketInUse) {
  const auto first = listen_unix(directory_ / "s");
  ASSERT_TRUE(first);

  const auto second = listen_unix(directory_ / "s");

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, base::Code::kAlreadyExists);
}

TEST_F(ListenUnixTest, SaysWhenThePathIsTooLong) {
  const auto listener = listen_unix(directory_ / std::string(120, 'x'));

  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().message.find("107 bytes"), std::string::npos);
}

}  // namespace
}  // namespace http
