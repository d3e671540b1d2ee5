#include "api/engine/names/dns_message.h"

#include <arpa/inet.h>
#include <ldns/ldns.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "vmm/base/letters.h"

namespace engine::dns {

namespace {

using base::Code;
using base::Error;
using base::Result;

constexpr std::uint32_t kTimeToLive = 600;  // seconds; Docker's
constexpr std::size_t kHeader = 12;
constexpr std::size_t kLongestMessage = 4096;

struct Freer {
  void operator()(ldns_pkt* packet) const { ldns_pkt_free(packet); }
  void operator()(ldns_rr* record) const { ldns_rr_free(record); }
  void operator()(ldns_rdf* field) const { ldns_rdf_deep_free(field); }
  void operator()(char* text) const { std::free(text); }
  void operator()(std::uint8_t* bytes) const { std::free(bytes); }
};
using Packet = std::unique_ptr<ldns_pkt, Freer>;
using Record = std::unique_ptr<ldns_rr, Freer>;
using Field = std::unique_ptr<ldns_rdf, Freer>;

Packet read(std::span<const std::byte> message) {
  ldns_pkt* packet = nullptr;
  if (message.size() < kHeader || message.size() > kLongestMessage) return nullptr;
  if (ldns_wire2pkt(&packet, reinterpret_cast<const std::uint8_t*>(message.data()),
                    message.size()) != LDNS_STATUS_OK)
    return nullptr;
  return Packet(packet);
}

/// The one question of a packet; null if it has none, or more.
const ldns_rr* question_of(const Packet& packet) {
  if (!packet || ldns_pkt_qr(packet.get()) ||
      ldns_pkt_get_opcode(packet.get()) != LDNS_PACKET_QUERY)
    return nullptr;
  const ldns_rr_list* const questions = ldns_pkt_question(packet.get());
  if (ldns_rr_list_rr_count(questions) != 1) return nullptr;
  const ldns_rr* const question = ldns_rr_list_rr(questions, 0);
  return ldns_rr_owner(question) == nullptr ? nullptr : question;
}

Kind kind_of(const ldns_rr* question) {
  if (ldns_rr_get_class(question) != LDNS_RR_CLASS_IN) return Kind::kOther;
  switch (ldns_rr_get_type(question)) {
    case LDNS_RR_TYPE_A:
      return Kind::kAddress;
    case LDNS_RR_TYPE_AAAA:
      return Kind::kAddress6;
    case LDNS_RR_TYPE_PTR:
      return Kind::kPointer;
    default:
      return Kind::kOther;
  }
}

/// An answer without records yet; null if `query` is no question.
Packet answer_to(std::span<const std::byte> query, ldns_pkt_rcode code) {
  const Packet asked = read(query);
  const ldns_rr* const question = question_of(asked);
  if (question == nullptr) return nullptr;
  Packet answer(ldns_pkt_new());
  if (!answer) return nullptr;
  ldns_pkt_set_id(answer.get(), ldns_pkt_id(asked.get()));
  ldns_pkt_set_qr(answer.get(), true);
  ldns_pkt_set_rd(answer.get(), ldns_pkt_rd(asked.get()));
  ldns_pkt_set_ra(answer.get(), true);
  ldns_pkt_set_rcode(answer.get(), static_cast<std::uint8_t>(code));
  Record copy(ldns_rr_clone(question));
  if (!copy || !ldns_pkt_push_rr(answer.get(), LDNS_SECTION_QUESTION, copy.get())) return nullptr;
  (void)copy.release();
  return answer;
}

/// A record about the name that is asked for; `field` is what it says.
bool add_record(const Packet& answer, ldns_rr_type type, Field field) {
  const ldns_rr* const question = ldns_rr_list_rr(ldns_pkt_question(answer.get()), 0);
  Record record(ldns_rr_new());
  Field owner(ldns_rdf_clone(ldns_rr_owner(question)));
  if (!record || !owner || !field) return false;
  ldns_rr_set_owner(record.get(), owner.release());
  ldns_rr_set_ttl(record.get(), kTimeToLive);
  ldns_rr_set_class(record.get(), LDNS_RR_CLASS_IN);
  ldns_rr_set_type(record.get(), type);
  if (!ldns_rr_push_rdf(record.get(), field.get())) return false;
  (void)field.release();
  if (!ldns_pkt_push_rr(answer.get(), LDNS_SECTION_ANSWER, record.get())) return false;
  (void)record.release();
  return true;
}

constexpr std::string_view kEnd6 = ".ip6.arpa";

/// A digit and a dot for each half of a byte, the last one first.
std::string address6_of_pointer(const std::string& name) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  in6_addr address{};
  constexpr std::size_t kHalves = 2 * sizeof address;
  if (name.size() != 2 * kHalves - 1 + kEnd6.size()) return {};
  for (std::size_t half = 0; half < kHalves; ++half) {
    const std::size_t digit = kDigits.find(name[2 * half]);
    if (digit == std::string_view::npos || name[2 * half + 1] != '.') return {};
    const std::size_t byte = sizeof address - 1 - half / 2;
    const std::size_t value = half % 2 == 0 ? digit : digit << 4;
    address.s6_addr[byte] = static_cast<std::uint8_t>(address.s6_addr[byte] | value);
  }
  char text[INET6_ADDRSTRLEN] = {};
  return ::inet_ntop(AF_INET6, &address, text, sizeof text);
}

Bytes written(const Packet& packet) {
  std::uint8_t* bytes = nullptr;
  std::size_t size = 0;
  if (!packet || ldns_pkt2wire(&bytes, packet.get(), &size) != LDNS_STATUS_OK) return {};
  const std::unique_ptr<std::uint8_t, Freer> owner(bytes);
  Bytes message(size);
  std::memcpy(message.data(), bytes, size);
  return message;
}

}  // namespace

Result<Question> parse_question(std::span<const std::byte> message) {
  const Packet packet = read(message);
  const ldns_rr* const asked = question_of(packet);
  if (asked == nullptr) return Error{Code::kInvalidArgument, "this is no question"};
  const std::unique_ptr<char, Freer> text(ldns_rdf2str(ldns_rr_owner(asked)));
  if (!text) return Error{Code::kInvalidArgument, "the question has no name"};
  Question question{.name = base::lower_case(text.get()), .kind = kind_of(asked)};
  if (question.name.ends_with('.')) question.name.pop_back();
  return question;
}

Kind kind_of_address(const std::string& address) {
  return address.find(':') == std::string::npos ? Kind::kAddress : Kind::kAddress6;
}

std::string address_of_pointer(const std::string& name) {
  constexpr std::string_view kEnd = ".in-addr.arpa";
  if (name.ends_with(kEnd6)) return address6_of_pointer(name);
  if (!name.ends_with(kEnd)) return {};
  in_addr reversed{};
  if (::inet_pton(AF_INET, name.substr(0, name.size() - kEnd.size()).c_str(), &reversed) != 1)
    return {};
  const in_addr address{__builtin_bswap32(reversed.s_addr)};
  char text[INET_ADDRSTRLEN] = {};
  return ::inet_ntop(AF_INET, &address, text, sizeof text);
}

Bytes with_addresses(std::span<const std::byte> query, const std::vector<std::string>& addresses) {
  const Packet answer = answer_to(query, LDNS_RCODE_NOERROR);
  if (!answer) return {};
  for (const std::string& address : addresses) {
    const bool six = kind_of_address(address) == Kind::kAddress6;
    Field field(ldns_rdf_new_frm_str(six ? LDNS_RDF_TYPE_AAAA : LDNS_RDF_TYPE_A, address.c_str()));
    if (!add_record(answer, six ? LDNS_RR_TYPE_AAAA : LDNS_RR_TYPE_A, std::move(field))) return {};
  }
  return written(answer);
}

Bytes with_name(std::span<const std::byte> query, const std::string& name) {
  const Packet answer = answer_to(query, LDNS_RCODE_NOERROR);
  if (!answer || !add_record(answer, LDNS_RR_TYPE_PTR, Field(ldns_dname_new_frm_str(name.c_str()))))
    return {};
  return written(answer);
}

Bytes failure(std::span<const std::byte> query) {
  return written(answer_to(query, LDNS_RCODE_SERVFAIL));
}

Bytes cut_to_datagram(Bytes message) {
  if (message.size() <= kDatagram || message.size() < kHeader) return message;
  // The header and the question, if that can be found; the rest is asked for over TCP.
  const Packet whole = read(message);
  Packet cut(ldns_pkt_new());
  const ldns_rr_list* const questions = whole ? ldns_pkt_question(whole.get()) : nullptr;
  if (!cut || questions == nullptr || ldns_rr_list_rr_count(questions) != 1) return {};
  ldns_pkt_set_id(cut.get(), ldns_pkt_id(whole.get()));
  ldns_pkt_set_qr(cut.get(), true);
  ldns_pkt_set_tc(cut.get(), true);
  ldns_pkt_set_rd(cut.get(), ldns_pkt_rd(whole.get()));
  ldns_pkt_set_ra(cut.get(), true);
  ldns_pkt_set_rcode(cut.get(), static_cast<std::uint8_t>(ldns_pkt_get_rcode(whole.get())));
  Record question(ldns_rr_clone(ldns_rr_list_rr(questions, 0)));
  if (!question || !ldns_pkt_push_rr(cut.get(), LDNS_SECTION_QUESTION, question.get())) return {};
  (void)question.release();
  return written(cut);
}

}  // namespace engine::dns
