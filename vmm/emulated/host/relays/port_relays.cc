#include "vmm/emulated/host/relays/port_relays.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>

#include "vmm/emulated/link/channel.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;

constexpr auto kOpenTimeout = std::chrono::seconds(10);
constexpr auto kBetweenAttempts = std::chrono::milliseconds(500);
constexpr auto kLook = std::chrono::milliseconds(100);
constexpr int kBacklog = 128;

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

/// Null, and a line in the log, if there cannot be any.
std::unique_ptr<UdpRelays> start_udp(const Endpoint& endpoint) {
  auto relays = UdpRelays::start(endpoint, UdpRelays::Limits());
  if (relays) return std::move(*relays);
  std::fprintf(stderr, "udp ports are published in the machine only: %s\n",
               relays.error().message.c_str());
  return nullptr;
}

}  // namespace

PortRelays::PortRelays(Endpoint endpoint, std::string list)
    : endpoint_(endpoint),
      list_(std::move(list)),
      slots_(std::make_shared<RelaySlots>(kMaxConnections)),
      udp_(start_udp(endpoint_)),
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
  std::set<ListedPort> tcp;
  std::set<ListedPort> udp;
  for (const ListedPort& port : ports) (port.transport == Transport::kTcp ? tcp : udp).insert(port);
  if (udp_) udp_->offer(std::move(udp));
  offer_tcp(tcp);
}

void PortRelays::offer_tcp(const std::set<ListedPort>& ports) {
  std::erase_if(tcp_, [&](const auto& relay) { return !ports.contains(relay.first); });
  for (const ListedPort& port : ports) {
    if (tcp_.contains(port)) continue;
    auto listener = listen_on(port);
    if (!listener) {
      report_left_out(port, listener.error().message);
      tcp_.emplace(port, nullptr);
      continue;
    }
    tcp_.emplace(port,
                 std::make_unique<RelayAcceptor>(
                     *std::move(listener), endpoint_, slots_,
                     [inside = address_inside(port), number = port.port](std::uint64_t name) {
                       return wire::frame(OpenTcp{.address = inside, .port = number, .name = name});
                     }));
  }
}

}  // namespace emulated
