// What a resolver sends: for tests.
#pragma once

#include <gtest/gtest.h>
#include <ldns/ldns.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace engine::testing {

/// A question with the number `id`.
inline std::vector<std::byte> query(const std::string& name, ldns_rr_type type = LDNS_RR_TYPE_A,
                                    std::uint16_t id = 77) {
  ldns_pkt* const packet =
      ldns_pkt_query_new(ldns_dname_new_frm_str(name.c_str()), type, LDNS_RR_CLASS_IN, LDNS_RD);
  ldns_pkt_set_id(packet, id);
  std::uint8_t* bytes = nullptr;
  std::size_t size = 0;
  EXPECT_EQ(ldns_pkt2wire(&bytes, packet, &size), LDNS_STATUS_OK);
  std::vector<std::byte> message(size);
  std::memcpy(message.data(), bytes, size);
  std::free(bytes);
  ldns_pkt_free(packet);
  return message;
}

}  // namespace engine::testing
