#include "vmm/emulated/host/relays/udp_relays.h"

#include <algorithm>
#include <cstdio>
#include <future>

namespace emulated {
namespace {

constexpr int kDatagramsInARow = 64;

}  // namespace

base::Result<std::unique_ptr<UdpRelays>> UdpRelays::start(Endpoint endpoint, Limits limits) {
  auto loop = base::EventLoop::create();
  if (!loop) return std::move(loop).error();
  return std::unique_ptr<UdpRelays>(new UdpRelays(endpoint, limits, std::move(*loop)));
}

UdpRelays::UdpRelays(Endpoint endpoint, Limits limits, std::unique_ptr<base::EventLoop> loop)
    : limits_(limits),
      endpoint_(endpoint),
      loop_(std::move(loop)),
      buffer_(kMaxDatagram),
      opener_(endpoint_, limits_.sessions),
      thread_([this](std::stop_token stop) { run(stop); }) {}

UdpRelays::~UdpRelays() {
  thread_.request_stop();
  loop_->post([] {});
  thread_.join();
}

void UdpRelays::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    if (const auto handled = loop_->run_once(timeout_ms()); !handled)
      std::fprintf(stderr, "udp ports: %s\n", handled.error().message.c_str());
    end_idle();
  }
}

void UdpRelays::offer(std::set<ListedPort> ports) {
  const auto done = std::make_shared<std::promise<void>>();
  auto changed = done->get_future();
  loop_->post([this, done, ports = std::move(ports)] {
    change(ports);
    done->set_value();
  });
  changed.wait();
}

void UdpRelays::change(const std::set<ListedPort>& ports) {
  for (auto port = ports_.begin(); port != ports_.end();) {
    if (ports.contains(port->first)) {
      ++port;
      continue;
    }
    end_all(port->second);
    port = ports_.erase(port);
  }
  for (const ListedPort& listed : ports)
    if (const auto [port, added] = ports_.try_emplace(listed, Port{.listed = listed, .socket = {}});
        added)
      bind(port->second);
}

void UdpRelays::bind(Port& port) {
  auto socket = bind_udp(port.listed);
  if (!socket) return report_left_out(port.listed, socket.error().message);
  auto watch =
      loop_->watch(socket->get(), EPOLLIN, [this, &port](std::uint32_t) { on_datagrams(port); });
  if (!watch) return report_left_out(port.listed, watch.error().message);
  port.socket = std::move(*socket);
  port.watch = std::move(*watch);
}

void UdpRelays::end_all(const Port& port) {
  for (auto session = sessions_.begin(); session != sessions_.end();) {
    const Place next = std::next(session);
    if (session->port == &port) end(session);
    session = next;
  }
}

void UdpRelays::on_datagrams(Port& port) {
  for (int i = 0; i < kDatagramsInARow; ++i) {
    const auto received = receive_datagram(port.socket.get(), buffer_);
    if (!received) return;
    const Place session = session_of(port, received->flow);
    if (session == sessions_.end()) continue;
    session->carrier.push(std::span(buffer_).first(received->size));
    touch(session);
    flush(session);
  }
}

UdpRelays::Place UdpRelays::session_of(Port& port, const Flow& flow) {
  if (const auto found = by_flow_.find({&port, flow}); found != by_flow_.end())
    return found->second;
  return make_room(port) ? begin(port, flow) : sessions_.end();
}

UdpRelays::Place UdpRelays::begin(Port& port, const Flow& flow) {
  const std::uint64_t id = ++last_id_;
  const wire::Bytes request =
      wire::frame(OpenUdp{.address = address_inside(port.listed), .port = port.listed.port});
  const bool asked = opener_.open(request, [this, id](base::Result<base::UniqueFd> socket) {
    // Work of a loop must be copyable.
    const auto opened = std::make_shared<base::Result<base::UniqueFd>>(std::move(socket));
    loop_->post([this, id, opened] { on_opened(id, std::move(*opened)); });
  });
  if (!asked) return sessions_.end();
  sessions_.push_back({.id = id, .port = &port, .flow = flow, .used = Clock::now()});
  const Place session = std::prev(sessions_.end());
  by_flow_.emplace(Key(&port, flow), session);
  by_id_.emplace(id, session);
  ++port.sessions;
  return session;
}

bool UdpRelays::make_room(const Port& port) {
  const bool port_full = port.sessions >= limits_.sessions_of_port;
  if (!port_full && sessions_.size() < limits_.sessions) return true;
  const auto latest = Clock::now() - limits_.spare;
  const Place spare = std::find_if(sessions_.begin(), sessions_.end(), [&](const Session& session) {
    return session.carrier.open() && session.used <= latest &&
           (!port_full || session.port == &port);
  });
  if (spare == sessions_.end()) return false;
  end(spare);
  return true;
}

void UdpRelays::on_opened(std::uint64_t id, base::Result<base::UniqueFd> socket) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;  // its port is gone
  const Place session = found->second;
  Port& port = *session->port;
  if (!socket) {
    // Once, not for each datagram that somebody sends.
    if (!std::exchange(port.unreachable, true))
      std::fprintf(stderr, "udp port %s:%u: %s\n", port.listed.address.c_str(),
                   unsigned{port.listed.port}, socket.error().message.c_str());
    return end(session);
  }
  port.unreachable = false;
  session->carrier.attach(std::move(*socket));
  auto watch = loop_->watch(session->carrier.fd(), EPOLLIN,
                            [this, id](std::uint32_t events) { on_agent(id, events); });
  if (!watch) return end(session);
  session->watch = std::move(*watch);
  touch(session);
  flush(session);
}

void UdpRelays::on_agent(std::uint64_t id, std::uint32_t events) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  const Place session = found->second;
  if (events & ~std::uint32_t{EPOLLOUT}) {
    const auto received = session->carrier.receive([&](std::span<const std::byte> datagram) {
      send_answer(session->port->socket.get(), session->flow, datagram);
      touch(session);
    });
    if (!received) return end(session);
  }
  flush(session);
}

void UdpRelays::flush(Place session) {
  const bool waited = session->carrier.wants_to_write();
  if (!session->carrier.flush()) return end(session);
  const bool waits = session->carrier.wants_to_write();
  if (waits == waited) return;
  if (!session->watch.set_events(waits ? EPOLLIN | EPOLLOUT : EPOLLIN)) end(session);
}

void UdpRelays::touch(Place session) {
  session->used = Clock::now();
  sessions_.splice(sessions_.end(), sessions_, session);
}

void UdpRelays::end(Place session) {
  --session->port->sessions;
  by_flow_.erase({session->port, session->flow});
  by_id_.erase(session->id);
  sessions_.erase(session);
}

void UdpRelays::end_idle() {
  const auto latest = Clock::now() - limits_.idle;
  for (auto session = sessions_.begin(); session != sessions_.end() && session->used <= latest;) {
    const Place next = std::next(session);
    if (session->carrier.open()) end(session);  // the others end with their opener's answer
    session = next;
  }
}

int UdpRelays::timeout_ms() const {
  const auto oldest = std::find_if(sessions_.begin(), sessions_.end(),
                                   [](const Session& session) { return session.carrier.open(); });
  if (oldest == sessions_.end()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(oldest->used + limits_.idle - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

}  // namespace emulated
