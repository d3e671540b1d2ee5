#include "images/registry/http/local_address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

namespace registry {
namespace {

bool is_local(const std::string& text) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1)
    return is_local_address(reinterpret_cast<const sockaddr&>(v4));
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  EXPECT_EQ(::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr), 1) << text;
  return is_local_address(reinterpret_cast<const sockaddr&>(v6));
}

TEST(LocalAddress, WhatOnlyThisHostReachesIsLocal) {
  for (const char* text :
       {"127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::1", "::", "fe80::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1"})
    EXPECT_TRUE(is_local(text)) << text;
}

TEST(LocalAddress, OtherHostsAreNot) {
  for (const char* text : {"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"})
    EXPECT_FALSE(is_local(text)) << text;
}

}  // namespace
}  // namespace registry
