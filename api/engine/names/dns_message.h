// Messages of the domain name system: what is asked, and answers made from a question.
//
// Trust: a message is whatever a process of a container sent. Threads: any. No coroutines, so that
// the fuzz build has it cheaply. Errors: kInvalidArgument for what is no question. Source: RFC
// 1035, read and written by ldns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/result.h"

namespace engine::dns {

using Bytes = std::vector<std::byte>;

enum class Kind { kAddress, kAddress6, kPointer, kOther };

struct Question {
  std::string name;  // in lower case, without the dot at its end
  Kind kind = Kind::kOther;
};

/// The one question of a query.
base::Result<Question> parse_question(std::span<const std::byte> message);

/// kAddress or kAddress6: who asks for addresses like this one.
Kind kind_of_address(const std::string& address);

/// The address that a name for a reverse look-up stands for: "2.0.17.172.in-addr.arpa" is
/// "172.17.0.2"; of IPv6 it is 32 digits and "ip6.arpa" (RFC 3596). Empty if it is none.
std::string address_of_pointer(const std::string& name);

/// Answers to `query`, which parse_question() takes. Empty if there is no memory for one.
/// These addresses, of IPv4 or IPv6, of the name that is asked for; without any, that it has none
/// of this kind.
Bytes with_addresses(std::span<const std::byte> query, const std::vector<std::string>& addresses);
/// The name that belongs to the address that is asked for.
Bytes with_name(std::span<const std::byte> query, const std::string& name);
/// Nobody can say.
Bytes failure(std::span<const std::byte> query);

/// Cut to what fits a datagram, so that whoever asked asks again over TCP.
inline constexpr std::size_t kDatagram = 512;
Bytes cut_to_datagram(Bytes message);

}  // namespace engine::dns
