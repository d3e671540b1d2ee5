#include "api/engine/attachments/places.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

Endpoint endpoint_on(const std::string& network, const std::string& address, std::uint32_t card) {
  Endpoint endpoint;
  endpoint.network = network;
  endpoint.address = address;
  endpoint.card = card;
  return endpoint;
}

PortRequest request_for(std::uint16_t port, std::uint16_t host_port, const std::string& address) {
  PortRequest request;
  request.first_host_port = request.last_host_port = host_port;
  request.address = address;
  request.port = port;
  return request;
}

TEST(Places, TheDefaultRouteIsWhereTheRequestsSay) {
  std::vector<Endpoint> endpoints{endpoint_on("a", "172.18.0.2", 3),
                                  endpoint_on("b", "172.19.0.2", 1)};
  const std::vector<EndpointRequest> requests{{.network = "b", .default_route = true},
                                              {.network = "a", .default_route = false}};

  EXPECT_EQ(lead_default_route(endpoints, requests), 1u);
  EXPECT_FALSE(endpoints[0].default_route);
  EXPECT_TRUE(endpoints[1].default_route);

  const std::vector<EndpointRequest> nowhere{{.network = "b", .default_route = false}};
  EXPECT_EQ(lead_default_route(endpoints, nowhere), std::nullopt);
}

TEST(Places, PortsLeadThereIfTheyAreTheSameAtTheSameEndpoint) {
  const std::vector<PublishedPort> ports{{Protocol::kTcp, "0.0.0.0", 8080, "172.18.0.2", 80}};

  EXPECT_TRUE(lead_there({}, {}));
  EXPECT_TRUE(lead_there(ports, std::vector{request_for(80, 8080, "172.18.0.2")}));
  EXPECT_FALSE(lead_there(ports, std::vector{request_for(80, 8080, "172.19.0.2")}));
  EXPECT_FALSE(lead_there(ports, {}));
  EXPECT_FALSE(lead_there({}, std::vector{request_for(80, 8080, "172.18.0.2")}));
}

TEST(Places, PortsOfTheHostAreKeptEachOnce) {
  std::vector<PortRequest> wanted{request_for(80, 0, "172.19.0.2"),
                                  request_for(80, 0, "172.19.0.2"),
                                  request_for(81, 0, "172.19.0.2")};
  const std::vector<PublishedPort> had{{Protocol::kTcp, "0.0.0.0", 32768, "172.18.0.2", 80},
                                       {Protocol::kTcp, "0.0.0.0", 32769, "172.18.0.2", 80},
                                       {Protocol::kUdp, "0.0.0.0", 32770, "172.18.0.2", 81}};

  keep_host_ports(wanted, had);

  EXPECT_EQ(wanted[0].first_host_port, 32768);
  EXPECT_EQ(wanted[1].last_host_port, 32769);
  EXPECT_EQ(wanted[2].first_host_port, 0);
}

}  // namespace
}  // namespace engine
