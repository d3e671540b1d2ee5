// ListedPort: a published port of the machine, as its daemon lists it.
//
// Trust: the list is the machine's, so it may be anything: its length is bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace emulated {

enum class Transport { kTcp, kUdp };

/// A port of the machine's own address, "0.0.0.0" for all it has.
struct ListedPort {
  Transport transport = Transport::kTcp;
  std::string address;  // IPv4
  std::uint16_t port = 0;
  friend auto operator<=>(const ListedPort&, const ListedPort&) = default;
};

/// The ports of a list with lines "tcp 0.0.0.0 8080" and "udp 0.0.0.0 53". Lines that are not like
/// that, and ports past the first kMaxListed, are left out.
inline constexpr std::size_t kMaxListed = 4096;
std::vector<ListedPort> parse_ports(std::string_view text);

/// The address at which `port` is reached from inside of the machine.
std::string address_inside(const ListedPort& port);

/// Tells the log that `port` cannot be had here.
void report_left_out(const ListedPort& port, std::string_view why);

}  // namespace emulated
