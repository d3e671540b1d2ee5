#include "api/networks/resolv_conf.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using Words = std::vector<std::string>;

TEST(ResolvConfTest, ReadsServersSearchAndOptions) {
  const ResolverSettings settings = parse_resolv_conf(
      "# comment\nnameserver 10.0.0.1\nsearch a.example b.example ; more\n"
      "options ndots:2 rotate\nsortlist 1.2.3.4\nnameserver\n");

  EXPECT_EQ(settings.servers, Words({"10.0.0.1"}));
  EXPECT_EQ(settings.search, Words({"a.example", "b.example"}));
  EXPECT_EQ(settings.options, Words({"ndots:2", "rotate"}));
}

TEST(ResolvConfTest, LeavesOutWhatAMachineCannotReach) {
  EXPECT_EQ(reachable_servers({"127.0.0.53", "10.0.0.1", "::1", "fe80::1"}), Words({"10.0.0.1"}));
}

TEST(ResolvConfTest, WritesWhatItReads) {
  const std::string text = "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch x\noptions ndots:0\n";

  EXPECT_EQ(to_text(parse_resolv_conf(text)), text);
}

TEST(ResolvConfTest, NamesAtLeastOneServer) {
  EXPECT_FALSE(host_resolver_settings().servers.empty());
}

}  // namespace
}  // namespace engine
