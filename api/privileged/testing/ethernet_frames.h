// Ethernet frames for tests, in bytes as they are on the wire, right or forged.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace engine::testing {

/// Big-endian.
inline std::string be16(unsigned value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

/// "02:42:ac:11:00:02" or "172.17.0.2" as bytes.
inline std::string address_bytes(std::string_view text) {
  const bool mac = text.find(':') != std::string_view::npos;
  std::string bytes;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(mac ? ':' : '.', at), text.size());
    bytes += static_cast<char>(
        std::stoi(std::string(text.substr(at, end - at)), nullptr, mac ? 16 : 10));
    at = end + 1;
  }
  return bytes;
}

inline std::string ethernet(std::string_view to, std::string_view from, unsigned type,
                            std::string_view payload) {
  return address_bytes(to) + address_bytes(from) + be16(type) + std::string(payload);
}

inline std::string udp(std::string_view payload, unsigned port) {
  constexpr unsigned kFrom = 4444;
  constexpr unsigned kNoChecksum = 0;
  return be16(kFrom) + be16(port) + be16(static_cast<unsigned>(8 + payload.size())) +
         be16(kNoChecksum) + std::string(payload);
}

/// `options` is a multiple of four bytes.
inline std::string ipv4(std::string_view from, std::string_view to, std::string_view payload,
                        unsigned protocol = 17, std::string_view options = {}) {
  const std::size_t header_size = 20 + options.size();
  std::string header = be16(0x4000 + static_cast<unsigned>(header_size / 4 << 8)) +
                       be16(static_cast<unsigned>(header_size + payload.size())) + be16(1) +
                       be16(0) + be16(64 << 8 | protocol) + be16(0) + address_bytes(from) +
                       address_bytes(to) + std::string(options);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < header.size(); i += 2)
    sum += static_cast<std::uint32_t>(static_cast<unsigned char>(header[i])) << 8 |
           static_cast<unsigned char>(header[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return header.replace(10, 2, be16(~sum & 0xffff)) + std::string(payload);
}

inline std::string address6_bytes(std::string_view text) {
  in6_addr raw{};
  ::inet_pton(AF_INET6, std::string(text).c_str(), &raw);
  return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

inline std::string ipv6(std::string_view from, std::string_view to, std::string_view payload,
                        unsigned next_header, unsigned hops = 64) {
  return be16(0x6000) + be16(0) + be16(static_cast<unsigned>(payload.size())) +
         be16(next_header << 8 | hops) + address6_bytes(from) + address6_bytes(to) +
         std::string(payload);
}

struct Arp {
  unsigned operation = 1;
  std::string_view sender_mac, sender_ip, target_mac, target_ip;
  unsigned hardware = 1;
};
inline std::string arp(const Arp& fields) {
  return be16(fields.hardware) + be16(0x800) + be16(0x604) + be16(fields.operation) +
         address_bytes(fields.sender_mac) + address_bytes(fields.sender_ip) +
         address_bytes(fields.target_mac) + address_bytes(fields.target_ip);
}

}  // namespace engine::testing
