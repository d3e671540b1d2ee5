#include "api/engine/names/upstream.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "api/engine/names/dns_message.h"

namespace engine::dns {

using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

constexpr std::size_t kMostServers = 3;
constexpr std::size_t kHeader = 12;
constexpr std::size_t kLongestAnswer = 4096;

/// Where it begins with its number.
std::array<std::byte, 2> number_of(const Bytes& message) { return {message[0], message[1]}; }

void set_number(Bytes& message, std::array<std::byte, 2> number) {
  message[0] = number[0];
  message[1] = number[1];
}

std::array<std::byte, 2> random_number() {
  std::array<std::byte, 2> number{};
  [[maybe_unused]] const ssize_t size = ::getrandom(number.data(), number.size(), 0);
  return number;
}

bool answers(const Bytes& answer, const Bytes& message) {
  return answer.size() >= kHeader && number_of(answer) == number_of(message);
}

net::awaitable<Bytes> ask_by_datagram(net::ip::address server, std::uint16_t port, Bytes message) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  net::ip::udp::socket socket(executor);
  boost::system::error_code error;
  const net::ip::udp::endpoint to(server, port);
  // Connected, so that nobody else's datagrams come in; its own port is the kernel's choice.
  socket.open(to.protocol(), error);
  if (!error) socket.connect(to, error);
  if (error) co_return Bytes();
  const auto [unsent, sent] = co_await socket.async_send(net::buffer(message), async::kTuple);
  if (unsent) co_return Bytes();
  Bytes answer(kLongestAnswer);
  for (;;) {
    const auto [failed, size] =
        co_await socket.async_receive(net::buffer(answer.data(), kLongestAnswer), async::kTuple);
    if (failed) co_return Bytes();
    answer.resize(size);
    if (answers(answer, message)) co_return answer;
    answer.resize(kLongestAnswer);
  }
}

net::awaitable<Bytes> ask_by_stream(net::ip::address server, std::uint16_t port, Bytes message) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  net::ip::tcp::socket socket(executor);
  const net::ip::tcp::endpoint to(server, port);
  const auto [refused] = co_await socket.async_connect(to, async::kTuple);
  if (refused) co_return Bytes();
  Bytes question(2 + message.size());
  question[0] = static_cast<std::byte>(message.size() >> 8);
  question[1] = static_cast<std::byte>(message.size());
  std::copy(message.begin(), message.end(), question.begin() + 2);
  const auto [unsent, sent] =
      co_await net::async_write(socket, net::buffer(question), async::kTuple);
  if (unsent) co_return Bytes();
  std::array<std::byte, 2> length{};
  const auto [silent, two] = co_await net::async_read(socket, net::buffer(length), async::kTuple);
  if (silent) co_return Bytes();
  Bytes answer(static_cast<std::size_t>(length[0]) << 8 | static_cast<std::size_t>(length[1]));
  if (answer.size() < kHeader || answer.size() > kLongestAnswer) co_return Bytes();
  const auto [cut, all] = co_await net::async_read(socket, net::buffer(answer), async::kTuple);
  if (cut || !answers(answer, message)) co_return Bytes();
  co_return answer;
}

net::awaitable<Bytes> ask_server(net::ip::address server, std::uint16_t port, Bytes message,
                                 bool stream, std::chrono::milliseconds patience) {
  net::steady_timer timer(co_await net::this_coro::executor, patience);
  auto asking = stream ? ask_by_stream(server, port, std::move(message))
                       : ask_by_datagram(server, port, std::move(message));
  auto waiting = timer.async_wait(async::kTuple);
  auto outcome = co_await (std::move(asking) || std::move(waiting));
  if (outcome.index() == 0) co_return std::get<0>(std::move(outcome));
  co_return Bytes();
}

}  // namespace

net::awaitable<Bytes> ask_servers(std::vector<std::string> servers, Bytes message, bool stream,
                                  std::chrono::milliseconds patience, std::uint16_t port) {
  if (message.size() < kHeader) co_return Bytes();
  const std::array<std::byte, 2> asked = number_of(message);
  if (servers.size() > kMostServers) servers.resize(kMostServers);
  for (const std::string& server : servers) {
    boost::system::error_code error;
    const net::ip::address address = net::ip::make_address(server, error);
    if (error) continue;
    set_number(message, random_number());
    Bytes answer = co_await ask_server(address, port, message, stream, patience);
    if (answer.empty()) continue;
    set_number(answer, asked);
    co_return answer;
  }
  co_return Bytes();
}

}  // namespace engine::dns
