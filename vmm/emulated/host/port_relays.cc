#include "vmm/emulated/host/port_relays.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <set>

#include "vmm/emulated/link/channel.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;

constexpr auto kOpenTimeout = std::chrono::seconds(10);
constexpr auto kBetweenAttempts = std::chrono::milliseconds(500);
constexpr auto kLook = std::chrono::milliseconds(100);
constexpr int kBacklog = 128;
constexpr const char* kLoopback = "127.0.0.1";

base::Result<base::UniqueFd> listen_on(const ListedPort& port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port.port);
  if (::inet_pton(AF_INET, port.address.c_str(), &at.sin_addr) != 1)
    return base::Error{base::Code::kInvalidArgument, "not an IPv4 address"};
  base::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return base::errno_error("socket");
  constexpr int kOn = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) < 0)
    return base::errno_error("bind");
  if (::listen(listener.get(), kBacklog) < 0) return base::errno_error("listen");
  return listener;
}

/// "tcp 0.0.0.0 8080"; false if it is not that.
bool parse_line(std::string_view line, ListedPort& port) {
  constexpr std::string_view kTcp = "tcp ";
  if (!line.starts_with(kTcp)) return false;
  line.remove_prefix(kTcp.size());
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return false;
  port.address = line.substr(0, space);
  in_addr raw{};
  if (::inet_pton(AF_INET, port.address.c_str(), &raw) != 1) return false;
  const std::string_view digits = line.substr(space + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), port.port);
  return error == std::errc() && end == digits.data() + digits.size() && port.port != 0;
}

}  // namespace

std::vector<ListedPort> parse_ports(std::string_view text) {
  std::vector<ListedPort> ports;
  while (!text.empty() && ports.size() < kMaxListed) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (ListedPort port; parse_line(text.substr(0, end), port)) ports.push_back(std::move(port));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return ports;
}

PortRelays::PortRelays(Endpoint endpoint, std::string list)
    : endpoint_(endpoint),
      list_(std::move(list)),
      slots_(std::make_shared<RelaySlots>(kMaxConnections)),
      watcher_([this](std::stop_token stop) { watch(stop); }) {}

PortRelays::~PortRelays() {
  watcher_.request_stop();
  watcher_.join();
}

void PortRelays::watch(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const auto socket = open_connection(endpoint_, wire::frame(WatchFile{.path = list_}),
                                        steady_clock::now() + kOpenTimeout);
    if (socket) follow(socket->get(), stop);
    if (!stop.stop_requested()) std::this_thread::sleep_for(kBetweenAttempts);
  }
}

void PortRelays::follow(int socket, std::stop_token stop) {
  while (!stop.stop_requested()) {
    pollfd entry{.fd = socket, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, static_cast<int>(kLook.count())) <= 0) continue;
    const auto frame = read_frame(socket, kMaxWatched + 64, steady_clock::now() + kOpenTimeout);
    if (!frame) return;
    const auto text = expect<FileText>(*frame);
    if (!text) return;
    offer(parse_ports(text->text));
  }
}

void PortRelays::offer(const std::vector<ListedPort>& ports) {
  const std::set<ListedPort> wanted(ports.begin(), ports.end());
  std::erase_if(relays_, [&](const auto& relay) { return !wanted.contains(relay.first); });
  for (const ListedPort& port : wanted) {
    if (relays_.contains(port)) continue;
    auto listener = listen_on(port);
    if (!listener) {
      std::fprintf(stderr, "port %s:%u is published in the machine only: %s\n",
                   port.address.c_str(), unsigned{port.port}, listener.error().message.c_str());
      relays_.emplace(port, nullptr);
      continue;
    }
    const std::string inside = port.address == "0.0.0.0" ? kLoopback : port.address;
    relays_.emplace(
        port, std::make_unique<RelayAcceptor>(
                  *std::move(listener), endpoint_, slots_,
                  [inside, number = port.port](std::uint64_t name) {
                    return wire::frame(OpenTcp{.address = inside, .port = number, .name = name});
                  }));
  }
}

}  // namespace emulated
