#include "api/engine/settings/networking/port_settings.h"

#include <gtest/gtest.h>

namespace engine::testing {
namespace {

using base::Code;
using nlohmann::json;

json host_config(json bindings, bool all = false) {
  return {{"PortBindings", std::move(bindings)}, {"PublishAllPorts", all}};
}

Code code_of(json bindings) {
  const auto ports = parse_ports(host_config(std::move(bindings)));
  return ports ? Code::kInternal : ports.error().code;
}

TEST(PortSettingsTest, PortsAreCountedWhetherTheyAreAskedForOrOnlyExposed) {
  json bindings = json::object();
  bindings["1/tcp"] = json(kMostPorts, json::object());
  const auto most = parse_ports(host_config(bindings, true));
  ASSERT_TRUE(most) << most.error().message;
  EXPECT_TRUE(check_port_count(*most, {"1/tcp"}));
  EXPECT_FALSE(check_port_count(*most, {"2/tcp"}));

  std::set<std::string> exposed;
  for (std::size_t i = 0; i <= kMostPorts; ++i) exposed.insert(std::to_string(i + 1) + "/tcp");
  const auto refused = check_port_count(PortSettings{}, exposed);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  exposed.erase(exposed.begin());
  EXPECT_TRUE(check_port_count(PortSettings{}, exposed));
}

TEST(PortSettingsTest, ABindingHasAPortARangeOrNothing) {
  const auto ports = parse_ports(host_config(
      {{"80/tcp", {{{"HostIp", "127.0.0.1"}, {"HostPort", "8080"}}, {{"HostPort", "9000-9010"}}}},
       {"53/udp", {{{"HostPort", ""}}}},
       {"81", nullptr}}));
  ASSERT_TRUE(ports) << ports.error().message;
  ASSERT_EQ(ports->bindings.size(), 4u);

  EXPECT_EQ(ports->bindings[0].host_address, "127.0.0.1");
  EXPECT_EQ(ports->bindings[0].first_host_port, 8080);
  EXPECT_EQ(ports->bindings[0].last_host_port, 8080);
  EXPECT_EQ(ports->bindings[1].first_host_port, 9000);
  EXPECT_EQ(ports->bindings[1].last_host_port, 9010);
  EXPECT_EQ(to_string(ports->bindings[2].port), "81/tcp");
  EXPECT_EQ(ports->bindings[2].first_host_port, 0);
  EXPECT_EQ(to_string(ports->bindings[3].port), "53/udp");
}

TEST(PortSettingsTest, WrongPortsAreRefused) {
  for (const char* key : {"", "0", "65536", "-1", "80x", "80/icmp", "80-90/tcp"})
    EXPECT_EQ(code_of({{key, {{{"HostPort", "1"}}}}}), Code::kInvalidArgument) << key;
  for (const char* host : {"65536", "-1", "x", "90-80", "80-", "-80", "80-90-100"})
    EXPECT_EQ(code_of({{"80/tcp", {{{"HostPort", host}}}}}), Code::kInvalidArgument) << host;
  EXPECT_EQ(code_of({{"80/tcp", {{{"HostIp", "here"}}}}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"80/tcp", {{{"HostPort", 8080}}}}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"80/tcp", {"8080"}}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"80/sctp", {{{"HostPort", "1"}}}}}), Code::kNotSupported);
}

TEST(PortSettingsTest, WithPublishAllEachExposedPortHasABinding) {
  const auto ports = parse_ports(host_config({{"80/tcp", {{{"HostPort", "8080"}}}}}, true));
  ASSERT_TRUE(ports);

  const auto bindings = bindings_for(*ports, {"80/tcp", "443/tcp", "53/udp", "nonsense"});

  ASSERT_EQ(bindings.size(), 3u);
  EXPECT_EQ(bindings[0].first_host_port, 8080);
  EXPECT_EQ(bindings_for(PortSettings{}, {"80/tcp"}).size(), 0u);
}

}  // namespace
}  // namespace engine::testing
