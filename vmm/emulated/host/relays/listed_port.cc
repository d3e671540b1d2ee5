#include "vmm/emulated/host/relays/listed_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace emulated {
namespace {

constexpr std::string_view kEverywhere = "0.0.0.0";
constexpr const char* kLoopback = "127.0.0.1";

/// "tcp 0.0.0.0 8080"; false if it is not that.
bool parse_line(std::string_view line, ListedPort& port) {
  const std::size_t first = line.find(' ');
  if (first == std::string_view::npos) return false;
  const std::string_view transport = line.substr(0, first);
  if (transport != "tcp" && transport != "udp") return false;
  port.transport = transport == "tcp" ? Transport::kTcp : Transport::kUdp;
  line.remove_prefix(first + 1);
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

std::string address_inside(const ListedPort& port) {
  return port.address == kEverywhere ? kLoopback : port.address;
}

void report_left_out(const ListedPort& port, std::string_view why) {
  std::fprintf(stderr, "%s port %s:%u is published in the machine only: %.*s\n",
               port.transport == Transport::kTcp ? "tcp" : "udp", port.address.c_str(),
               unsigned{port.port}, static_cast<int>(why.size()), why.data());
}

}  // namespace emulated
