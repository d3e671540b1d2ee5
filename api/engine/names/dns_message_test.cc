#include "api/engine/names/dns_message.h"

#include <gtest/gtest.h>
#include <ldns/ldns.h>

#include <cstring>

#include "api/engine/names/testing/dns_queries.h"

namespace engine::dns::testing {
namespace {

using engine::testing::query;

/// "77 NOERROR: web.mine. 600 IN A 172.18.0.2; ..." of a message; "nothing" of none.
std::string text_of(const Bytes& message) {
  ldns_pkt* packet = nullptr;
  if (ldns_wire2pkt(&packet, reinterpret_cast<const std::uint8_t*>(message.data()),
                    message.size()) != LDNS_STATUS_OK)
    return "nothing";
  char* const code = ldns_pkt_rcode2str(ldns_pkt_get_rcode(packet));
  std::string text = std::to_string(ldns_pkt_id(packet)) + " " + code + ":";
  std::free(code);
  if (ldns_pkt_tc(packet)) text += " cut";
  ldns_rr_list* const answers = ldns_pkt_answer(packet);
  for (std::size_t i = 0; i < ldns_rr_list_rr_count(answers); ++i) {
    char* const record = ldns_rr2str(ldns_rr_list_rr(answers, i));
    text += " " + std::string(record);
    std::free(record);
  }
  ldns_pkt_free(packet);
  for (char& c : text)
    if (c == '\t') c = ' ';
  return text;
}

TEST(DnsMessageTest, AQuestionIsReadWithoutRegardToCase) {
  const auto question = parse_question(query("Web.Mine."));
  ASSERT_TRUE(question) << question.error().message;

  EXPECT_EQ(question->name, "web.mine");
  EXPECT_EQ(question->kind, Kind::kAddress);
  EXPECT_EQ(parse_question(query("web", LDNS_RR_TYPE_AAAA))->kind, Kind::kAddress6);
  EXPECT_EQ(parse_question(query("web", LDNS_RR_TYPE_PTR))->kind, Kind::kPointer);
  EXPECT_EQ(parse_question(query("web", LDNS_RR_TYPE_MX))->kind, Kind::kOther);
}

TEST(DnsMessageTest, WhatIsNoQuestionIsRefused) {
  EXPECT_FALSE(parse_question(Bytes()));
  EXPECT_FALSE(parse_question(Bytes(12)));
  EXPECT_FALSE(parse_question(Bytes(100, std::byte{0xff})));
  EXPECT_FALSE(parse_question(with_addresses(query("web"), {"172.18.0.2"})));  // an answer
  Bytes cut = query("web");
  cut.pop_back();
  EXPECT_FALSE(parse_question(cut));
}

TEST(DnsMessageTest, AnAnswerHasTheQuestionsNumberAndTheAddresses) {
  EXPECT_EQ(text_of(with_addresses(query("web"), {"172.18.0.2", "172.18.0.3"})),
            "77 NOERROR: web. 600 IN A 172.18.0.2\n web. 600 IN A 172.18.0.3\n");
  EXPECT_EQ(text_of(with_addresses(query("web", LDNS_RR_TYPE_AAAA), {})), "77 NOERROR:");
  EXPECT_EQ(text_of(failure(query("web"))), "77 SERVFAIL:");
}

TEST(DnsMessageTest, AddressesOfIPv6AreRecordsOfTheirKind) {
  EXPECT_EQ(text_of(with_addresses(query("web", LDNS_RR_TYPE_AAAA), {"fd00:1::2"})),
            "77 NOERROR: web. 600 IN AAAA fd00:1::2\n");
  EXPECT_EQ(kind_of_address("fd00:1::2"), Kind::kAddress6);
  EXPECT_EQ(kind_of_address("172.18.0.2"), Kind::kAddress);
}

TEST(DnsMessageTest, AnAddressOfIPv6IsTurnedAroundByItsDigits) {
  const std::string zeros = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.";

  EXPECT_EQ(address_of_pointer("b." + zeros + "1.0.0.0.0.0.d.f.ip6.arpa"), "fd00:1::b");
  EXPECT_EQ(address_of_pointer(zeros + "1.0.0.0.0.0.d.f.ip6.arpa"), "");
  EXPECT_EQ(address_of_pointer("g." + zeros + "1.0.0.0.0.0.d.f.ip6.arpa"), "");
  EXPECT_EQ(address_of_pointer("b0" + zeros + "1.0.0.0.0.0.d.f.ip6.arpa"), "");
  EXPECT_EQ(address_of_pointer("b." + zeros + "1.0.0.0.0.0.d.f-ip6.arpa"), "");
  EXPECT_EQ(address_of_pointer(".ip6.arpa"), "");
}

TEST(DnsMessageTest, AnAddressHasItsName) {
  const std::string reverse = "2.0.18.172.in-addr.arpa";

  EXPECT_EQ(address_of_pointer(reverse), "172.18.0.2");
  EXPECT_EQ(address_of_pointer("2.0.18.in-addr.arpa"), "");
  EXPECT_EQ(address_of_pointer("web"), "");
  EXPECT_EQ(text_of(with_name(query(reverse, LDNS_RR_TYPE_PTR), "web.mine")),
            "77 NOERROR: " + reverse + ". 600 IN PTR web.mine.\n");
}

TEST(DnsMessageTest, WhatDoesNotFitADatagramIsAskedForAgain) {
  std::vector<std::string> addresses;
  for (int i = 1; i <= 100; ++i) addresses.push_back("172.18.0." + std::to_string(i));
  const Bytes whole = with_addresses(query("web"), addresses);
  ASSERT_GT(whole.size(), kDatagram);

  EXPECT_EQ(text_of(cut_to_datagram(whole)), "77 NOERROR: cut");
  EXPECT_EQ(cut_to_datagram(query("web")), query("web"));
}

}  // namespace
}  // namespace engine::dns::testing
