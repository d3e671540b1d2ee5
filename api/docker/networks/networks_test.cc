#include <gtest/gtest.h>

#include "api/docker/testing/api_fixture.h"

namespace docker {
namespace {

class NetworksApiTest : public ApiTest {
 protected:
  std::string create_network(const json& body) {
    const auto answer = call("POST", "/networks/create", body);
    EXPECT_EQ(static_cast<int>(answer.status), 201) << answer.body;
    return json::parse(answer.body).value("Id", "");
  }

  /// Runs a container on the networks.
  std::string run_on(const json& endpoints, const json& host_config = json::object(),
                     const std::string& query = "") {
    json host = host_config;
    host["NetworkMode"] = endpoints.begin().key();
    const std::string id = create_over_api({{"Image", "busybox"},
                                            {"Cmd", {"sleep", "1000"}},
                                            {"HostConfig", host},
                                            {"NetworkingConfig", {{"EndpointsConfig", endpoints}}}},
                                           query);
    const auto started = call("POST", "/containers/" + id + "/start");
    EXPECT_EQ(static_cast<int>(started.status), 204) << started.body;
    return id;
  }

  std::string start_error(const std::string& id) {
    const auto answer = call("POST", "/containers/" + id + "/start");
    EXPECT_GE(static_cast<int>(answer.status), 400);
    return json::parse(answer.body).value("message", "");
  }
};

TEST_F(NetworksApiTest, ANetworkIsShownAsDockerShowsIt) {
  const std::string id = create_network({{"Name", "mine"}, {"Labels", {{"a", "b"}}}});
  const json shown = get("/networks/mine");

  EXPECT_EQ(shown.at("Id"), id);
  EXPECT_EQ(shown.at("Driver"), "bridge");
  EXPECT_EQ(shown.at("Scope"), "local");
  EXPECT_EQ(shown.at("IPAM").at("Driver"), "default");
  EXPECT_EQ(shown.at("IPAM").at("Config").at(0).at("Gateway"), "172.18.0.1");
  EXPECT_EQ(shown.at("Labels").at("a"), "b");
  EXPECT_EQ(get("/networks?filters={\"type\":[\"custom\"]}").size(), 1u);
  EXPECT_EQ(get("/networks?filters={\"label\":[\"a=b\"]}").size(), 1u);
  EXPECT_EQ(get("/networks").size(), 3u);
  EXPECT_EQ(actions_in("{\"type\":[\"network\"]}"), "create ");
}

TEST_F(NetworksApiTest, ANetworkWithIPv6IsShownWithBothSubnets) {
  create_network({{"Name", "any"}, {"EnableIPv6", true}});
  create_network({{"Name", "asked"},
                  {"EnableIPv6", true},
                  {"IPAM", {{"Config", {{{"Subnet", "fd00:1::/64"}, {"Gateway", "fd00:1::9"}}}}}}});
  const json any = get("/networks/any");
  const json asked = get("/networks/asked");

  EXPECT_EQ(any.at("EnableIPv6"), true);
  EXPECT_EQ(any.at("IPAM").at("Config"),
            json::parse(R"([{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"},
                            {"Subnet":"fd00:18::/64","Gateway":"fd00:18::1"}])"));
  EXPECT_EQ(asked.at("IPAM").at("Config"),
            json::parse(R"([{"Subnet":"fd00:1::/64","Gateway":"fd00:1::9"},
                            {"Subnet":"172.19.0.0/16","Gateway":"172.19.0.1"}])"));
  EXPECT_EQ(get("/networks/bridge").at("EnableIPv6"), false);
}

TEST_F(NetworksApiTest, ASubnetOfIPv6WithoutEnableIPv6IsAWarning) {
  const auto answer =
      call("POST", "/networks/create",
           {{"Name", "mine"}, {"IPAM", {{"Config", {{{"Subnet", "fd00:1::/64"}}}}}}});

  EXPECT_EQ(static_cast<int>(answer.status), 201);
  EXPECT_EQ(json::parse(answer.body).at("Warning"),
            "the subnet fd00:1::/64 is not used: EnableIPv6 is not set");
  EXPECT_EQ(get("/networks/mine").at("EnableIPv6"), false);
  EXPECT_EQ(get("/networks/mine").at("IPAM").at("Config").size(), 2u);
}

TEST_F(NetworksApiTest, AContainerHasAnAddressOfIPv6) {
  create_network({{"Name", "mine"}, {"EnableIPv6", true}});
  const std::string id = run_on({{"mine", json::object()}}, {}, "?name=web");
  const json settings = get("/containers/" + id + "/json").at("NetworkSettings");
  const json network = settings.at("Networks").at("mine");

  EXPECT_EQ(network.at("GlobalIPv6Address"), "fd00:18::2");
  EXPECT_EQ(network.at("GlobalIPv6PrefixLen"), 64);
  EXPECT_EQ(network.at("IPv6Gateway"), "fd00:18::1");
  EXPECT_EQ(settings.at("GlobalIPv6Address"), "");  // the default network's
  EXPECT_EQ(get("/networks/mine").at("Containers").at(id).at("IPv6Address"), "fd00:18::2/64");
  EXPECT_NE(host_.last_container().settings.hosts_file.find(
                "172.18.0.2\t" + id.substr(0, 12) + "\nfd00:18::2\t" + id.substr(0, 12) + "\n"),
            std::string::npos);
  EXPECT_EQ((*containers_->find(id))->run.machine->endpoints().at(0).address6, "fd00:18::2");
}

TEST_F(NetworksApiTest, AnAddressOfIPv6ThatIsAskedForIsHad) {
  create_network({{"Name", "mine"},
                  {"EnableIPv6", true},
                  {"IPAM", {{"Config", {{{"Subnet", "fd00:1::/64"}}}}}}});
  const json asked{{"mine", {{"IPAMConfig", {{"IPv6Address", "FD00:1::0:99"}}}}}};
  const std::string id = run_on(asked);
  const json network =
      get("/containers/" + id + "/json").at("NetworkSettings").at("Networks").at("mine");

  EXPECT_EQ(network.at("GlobalIPv6Address"), "fd00:1::99");
  EXPECT_EQ(network.at("IPAMConfig").at("IPv6Address"), "FD00:1::0:99");
  const std::string second = create_over_api({{"Image", "busybox"},
                                              {"Cmd", {"true"}},
                                              {"HostConfig", {{"NetworkMode", "mine"}}},
                                              {"NetworkingConfig", {{"EndpointsConfig", asked}}}});
  EXPECT_EQ(start_error(second), "failed to set up container networking: Address already in use");
}

TEST_F(NetworksApiTest, AnAddressOfIPv6IsOfASubnetThatWasAskedFor) {
  create_network({{"Name", "without"}});
  create_network({{"Name", "chosen"}, {"EnableIPv6", true}});
  create_network({{"Name", "asked"},
                  {"EnableIPv6", true},
                  {"IPAM", {{"Config", {{{"Subnet", "fd00:1::/64"}}}}}}});
  const auto error_on = [&](const std::string& network, const std::string& address) {
    return start_error(create_over_api(
        {{"Image", "busybox"},
         {"Cmd", {"true"}},
         {"HostConfig", {{"NetworkMode", network}}},
         {"NetworkingConfig",
          {{"EndpointsConfig", {{network, {{"IPAMConfig", {{"IPv6Address", address}}}}}}}}}}));
  };
  const std::string refused =
      "invalid endpoint settings:\nuser specified IP address is supported only when connecting to "
      "networks with user configured subnets";

  EXPECT_EQ(error_on("without", "fd00:1::99"), refused);
  EXPECT_EQ(error_on("chosen", "fd00:18::99"), refused);
  EXPECT_EQ(error_on("asked", "fd00:2::99"),
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address "
            "fd00:2::99");
}

TEST_F(NetworksApiTest, AContainerThatRunsGetsAnAddressOfIPv6) {
  create_network({{"Name", "mine"},
                  {"EnableIPv6", true},
                  {"IPAM", {{"Config", {{{"Subnet", "fd00:1::/64"}}}}}}});
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const std::string& name = (*containers_->find(id))->short_id();
  const json endpoint{{"IPAMConfig", {{"IPv6Address", "fd00:1::99"}}}};

  ASSERT_EQ(
      status("POST", "/networks/mine/connect", {{"Container", id}, {"EndpointConfig", endpoint}}),
      200);
  EXPECT_EQ((*containers_->find(id))->run.machine->endpoints().at(1).address6, "fd00:1::99");
  const std::vector<std::string> lines{"172.18.0.2\t" + name, "fd00:1::99\t" + name};
  EXPECT_EQ(host_.last_network_files().added_hosts, lines);
  const auto stored = engine::stored_state(engine::to_json_text((*containers_->find(id))->state));
  EXPECT_EQ(stored.damage, "");
  EXPECT_EQ(stored.value.machine.endpoints.at(1).address6, "fd00:1::99");
  EXPECT_EQ(stored.value.machine.endpoints.at(1).prefix_length6, 64);
  EXPECT_EQ(stored.value.machine.endpoints.at(1).gateway6, "fd00:1::1");

  ASSERT_EQ(status("POST", "/networks/mine/disconnect", {{"Container", id}}), 200);
  EXPECT_EQ(host_.last_network_files().removed_hosts, lines);
  EXPECT_EQ(get("/networks/mine").at("Containers").size(), 0u);
}

TEST_F(NetworksApiTest, AContainerIsOnEachOfItsNetworks) {
  create_network({{"Name", "back"}});
  create_network({{"Name", "front"}});
  const std::string id =
      run_on({{"back", {{"Aliases", {"db"}}}}, {"front", json::object()}}, {}, "?name=web");
  const json networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");

  EXPECT_EQ(networks.size(), 2u);
  EXPECT_EQ(networks.at("back").at("IPAddress"), "172.18.0.2");
  EXPECT_EQ(networks.at("front").at("IPAddress"), "172.19.0.2");
  EXPECT_EQ(networks.at("back").at("DNSNames"), json({"web", "db", id.substr(0, 12)}));
  EXPECT_EQ(networks.at("back").at("NetworkID"), get("/networks/back").at("Id"));
  const auto& endpoints = (*containers_->find(id))->state.machine.endpoints;
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_TRUE(endpoints[0].default_route);
  EXPECT_FALSE(endpoints[1].default_route);
  EXPECT_EQ(get("/networks/back").at("Containers").at(id).at("Name"), "web");
}

TEST_F(NetworksApiTest, TheDefaultRouteIsWhereThePriorityIsHighestAndTheNetworkNotInternal) {
  create_network({{"Name", "a"}, {"Internal", true}});
  create_network({{"Name", "b"}});
  create_network({{"Name", "c"}});
  const std::string id =
      run_on({{"a", {{"GwPriority", 9}}}, {"b", json::object()}, {"c", {{"GwPriority", 1}}}});

  for (const auto& endpoint : (*containers_->find(id))->state.machine.endpoints)
    EXPECT_EQ(endpoint.default_route, endpoint.network == "c") << endpoint.network;
}

TEST_F(NetworksApiTest, AnAddressAndAMacThatAreAskedForAreHad) {
  create_network({{"Name", "mine"}, {"IPAM", {{"Config", {{{"Subnet", "10.1.0.0/16"}}}}}}});
  const std::string id = run_on(
      {{"mine",
        {{"IPAMConfig", {{"IPv4Address", "10.1.2.3"}}}, {"MacAddress", "02:00:00:00:00:09"}}}});
  const json network =
      get("/containers/" + id + "/json").at("NetworkSettings").at("Networks").at("mine");

  EXPECT_EQ(network.at("IPAddress"), "10.1.2.3");
  EXPECT_EQ(network.at("MacAddress"), "02:00:00:00:00:09");
  EXPECT_EQ(network.at("IPAMConfig").at("IPv4Address"), "10.1.2.3");
  const std::string second = create_over_api(
      {{"Image", "busybox"},
       {"Cmd", {"true"}},
       {"HostConfig", {{"NetworkMode", "mine"}}},
       {"NetworkingConfig",
        {{"EndpointsConfig", {{"mine", {{"IPAMConfig", {{"IPv4Address", "10.1.2.3"}}}}}}}}}});
  EXPECT_EQ(start_error(second), "failed to set up container networking: Address already in use");
}

TEST_F(NetworksApiTest, ANetworkThatIsNotThereIsAnErrorAtStart) {
  const std::string id = create_over_api(
      {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", {{"NetworkMode", "nope"}}}});

  EXPECT_EQ(start_error(id), "failed to set up container networking: network nope not found");
}

TEST_F(NetworksApiTest, SeveralNetworksAtCreateAreForClientsThatKnowThem) {
  const json body{
      {"Image", "busybox"},
      {"Cmd", {"true"}},
      {"NetworkingConfig", {{"EndpointsConfig", {{"a", json::object()}, {"b", json::object()}}}}}};

  EXPECT_EQ(status("POST", "/v1.43/containers/create", body), 400);
  EXPECT_EQ(status("POST", "/v1.44/containers/create", body), 201);
}

TEST_F(NetworksApiTest, ContainersAreConnectedAndDisconnectedWhileTheyDoNotRun) {
  create_network({{"Name", "mine"}});
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  const json connection{{"Container", id}, {"EndpointConfig", {{"Aliases", {"x"}}}}};

  EXPECT_EQ(status("POST", "/networks/mine/connect", connection), 200);
  EXPECT_EQ(status("POST", "/networks/bridge/disconnect", {{"Container", id}}), 200);
  EXPECT_EQ(status("POST", "/networks/bridge/disconnect", {{"Container", id}}), 500);
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const json networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");
  EXPECT_EQ(networks.size(), 1u);
  EXPECT_EQ(networks.at("mine").at("IPAddress"), "172.18.0.2");
  EXPECT_EQ(status("POST", "/networks/mine/connect", {{"Container", id}}), 403);
  EXPECT_EQ(status("POST", "/networks/nope/connect", {{"Container", id}}), 404);
  EXPECT_EQ(status("POST", "/networks/mine/connect", {{"Container", "nobody"}}), 404);
}

TEST_F(NetworksApiTest, AContainerThatRunsIsConnectedAndDisconnected) {
  create_network({{"Name", "mine"}});
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const auto& container = **containers_->find(id);
  const json connection{{"Container", id}, {"EndpointConfig", {{"Aliases", {"x"}}}}};

  ASSERT_EQ(status("POST", "/networks/mine/connect", connection), 200);

  json networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");
  EXPECT_EQ(networks.at("mine").at("IPAddress"), "172.18.0.2");
  EXPECT_EQ(networks.at("mine").at("DNSNames").at(1), "x");
  EXPECT_EQ(get("/networks/mine").at("Containers").size(), 1u);
  auto endpoints = container.run.machine->endpoints();
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_EQ(endpoints[1].card, 1u);
  EXPECT_TRUE(endpoints[0].default_route);
  EXPECT_FALSE(endpoints[1].default_route);
  const auto& files = host_.last_network_files();
  EXPECT_EQ(files.added_hosts, std::vector<std::string>{"172.18.0.2\t" + container.short_id()});
  EXPECT_EQ(files.removed_hosts, std::vector<std::string>{});
  EXPECT_EQ(files.resolv_conf_file, "nameserver 127.0.0.11\n");
  EXPECT_EQ(actions_in("{\"type\":[\"network\"]}"), "create connect connect ");

  ASSERT_EQ(status("POST", "/networks/bridge/disconnect", {{"Container", id}}), 200);

  networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");
  EXPECT_EQ(networks.size(), 1u);
  endpoints = container.run.machine->endpoints();
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_TRUE(endpoints[0].default_route);
  EXPECT_EQ(files.removed_hosts, std::vector<std::string>{"172.17.0.2\t" + container.short_id()});
  EXPECT_EQ(host_.endpoints_in_use(), 1u);
  EXPECT_EQ(status("POST", "/networks/bridge/disconnect", {{"Container", id}}), 500);

  // The card that was given up is the next one's.
  ASSERT_EQ(status("POST", "/networks/bridge/connect", {{"Container", id}}), 200);
  EXPECT_EQ(container.run.machine->endpoints().at(1).card, 0u);

  ASSERT_EQ(status("POST", "/containers/" + id + "/kill"), 204);
  run_until([&] { return container.run.machine == nullptr; });
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  EXPECT_EQ(container.run.machine->endpoints().size(), 2u);
}

TEST_F(NetworksApiTest, PortsFollowTheDefaultRouteAndKeepTheirNumbers) {
  create_network({{"Name", "inner"}, {"Internal", true}});
  create_network({{"Name", "a"}});
  create_network({{"Name", "b"}});
  const std::string id =
      run_on({{"inner", json::object()}}, {{"PortBindings", {{"80/tcp", {{{"HostPort", ""}}}}}}});
  const auto& ports = (*containers_->find(id))->state.machine.ports;
  EXPECT_EQ(ports.size(), 0u);

  ASSERT_EQ(status("POST", "/networks/b/connect", {{"Container", id}}), 200);
  ASSERT_EQ(ports.size(), 1u);
  const auto number = ports[0].host_port;
  EXPECT_EQ(ports[0].address, "172.20.0.2");

  ASSERT_EQ(status("POST", "/networks/a/connect", {{"Container", id}}), 200);
  ASSERT_EQ(ports.size(), 1u);
  EXPECT_EQ(ports[0].address, "172.19.0.2");
  EXPECT_EQ(ports[0].host_port, number);

  ASSERT_EQ(status("POST", "/networks/a/disconnect", {{"Container", id}}), 200);
  ASSERT_EQ(ports.size(), 1u);
  EXPECT_EQ(ports[0].address, "172.20.0.2");
  ASSERT_EQ(status("POST", "/networks/b/disconnect", {{"Container", id}}), 200);
  EXPECT_EQ(ports.size(), 0u);
}

TEST_F(NetworksApiTest, APortThatIsNotFreeKeepsTheContainerOffTheNetwork) {
  create_network({{"Name", "inner"}, {"Internal", true}});
  create_network({{"Name", "outer"}});
  const json host{{"PortBindings", {{"80/tcp", {{{"HostPort", "8080"}}}}}}};
  run_on({{"outer", json::object()}}, host);
  const std::string id = run_on({{"inner", json::object()}}, host);

  const auto refused = call("POST", "/networks/outer/connect", {{"Container", id}});

  EXPECT_EQ(static_cast<int>(refused.status), 500);
  EXPECT_NE(refused.body.find("port is already allocated"), std::string::npos) << refused.body;
  const json networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");
  EXPECT_EQ(networks.size(), 1u);
  EXPECT_EQ((*containers_->find(id))->run.machine->endpoints().size(), 1u);
  EXPECT_EQ(host_.endpoints_in_use(), 2u);
}

TEST_F(NetworksApiTest, WhatAMachineRefusesChangesNothing) {
  create_network({{"Name", "mine"}});
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  host_.trouble().refused_network = true;

  const auto refused = call("POST", "/networks/mine/connect", {{"Container", id}});

  EXPECT_EQ(static_cast<int>(refused.status), 500);
  EXPECT_NE(refused.body.find("the guest refuses the network"), std::string::npos);
  EXPECT_EQ(get("/containers/" + id + "/json").at("NetworkSettings").at("Networks").size(), 1u);
  EXPECT_EQ(host_.endpoints_in_use(), 1u);
  host_.trouble().refused_network = false;
  EXPECT_EQ(status("POST", "/networks/mine/connect", {{"Container", id}}), 200);
}

TEST_F(NetworksApiTest, WhoEndsWhileItsAddressIsWaitedForHasItAtTheNextStart) {
  create_network({{"Name", "mine"}, {"IPAM", {{"Config", {{{"Subnet", "10.1.0.0/16"}}}}}}});
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const engine::ContainerPtr container = *containers_->find(id);
  // Of a machine that has not quite ended.
  std::optional<engine::EndpointLease> last =
      *await(host_.networks().connect({.network = "mine", .address = "10.1.2.3"}));
  const json connection{{"Container", id},
                        {"EndpointConfig", {{"IPAMConfig", {{"IPv4Address", "10.1.2.3"}}}}}};
  Pending connected("POST", "/networks/mine/connect", connection.dump());

  begin(connected);
  ASSERT_FALSE(connected.ended);
  ASSERT_EQ(status("POST", "/containers/" + id + "/kill"), 204);
  run_until([&] { return container->run.machine == nullptr; });
  EXPECT_FALSE(connected.ended);
  last.reset();
  run_until([&] { return connected.ended; });

  EXPECT_EQ(static_cast<int>(connected.exchange.answer.status), 200);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const json networks = get("/containers/" + id + "/json").at("NetworkSettings").at("Networks");
  EXPECT_EQ(networks.at("mine").at("IPAddress"), "10.1.2.3");
}

TEST_F(NetworksApiTest, WhoIsOnNoneIsOnNoOther) {
  create_network({{"Name", "mine"}});
  const std::string some = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  const std::string none = create_over_api({{"Image", "busybox"},
                                            {"Cmd", {"sleep", "1000"}},
                                            {"HostConfig", {{"NetworkMode", "none"}}}});
  for (const bool running : {false, true}) {
    EXPECT_EQ(status("POST", "/networks/none/connect", {{"Container", some}}), 400);
    EXPECT_EQ(status("POST", "/networks/mine/connect", {{"Container", none}}), 400);
    if (running) break;
    ASSERT_EQ(status("POST", "/containers/" + some + "/start"), 204);
    ASSERT_EQ(status("POST", "/containers/" + none + "/start"), 204);
  }
  EXPECT_EQ(status("POST", "/networks/none/disconnect", {{"Container", none}}), 200);
  EXPECT_EQ(status("POST", "/networks/mine/connect", {{"Container", none}}), 200);
  EXPECT_EQ((*containers_->find(none))->run.machine->endpoints().size(), 1u);
}

TEST_F(NetworksApiTest, AMachineHasNetworkCardsForSoMany) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  for (unsigned i = 1; i <= launch::kMostNetworkCards; ++i) {
    const std::string name = "n" + std::to_string(i);
    create_network({{"Name", name}});
    EXPECT_EQ(status("POST", "/networks/" + name + "/connect", {{"Container", id}}),
              i < launch::kMostNetworkCards ? 200 : 400)
        << i;
  }
}

TEST_F(NetworksApiTest, LinksOnTheDefaultNetworkAreHostsAndVariables) {
  const json database{{"Image", "busybox"},
                      {"Cmd", {"sleep", "1000"}},
                      {"Env", {"USER=me", "HOME=/x"}},
                      {"ExposedPorts", {{"5432/tcp", json::object()}, {"53/udp", json::object()}}}};
  const std::string db = create_over_api(database, "?name=db");
  const json host{{"Links", {"db:my-data", "db"}}};
  const std::string web = create_over_api(
      {{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}, {"HostConfig", host}}, "?name=web");

  EXPECT_EQ(start_error(web), "Cannot link to a non running container: /db AS /web/my-data");
  ASSERT_EQ(status("POST", "/containers/db/start"), 204);
  ASSERT_EQ(status("POST", "/containers/web/start"), 204);

  EXPECT_EQ(get("/containers/web/json").at("HostConfig").at("Links"),
            json({"/db:/web/my-data", "/db:/web/db"}));
  const json row = get("/containers/json?filters={\"id\":[\"" + db + "\"]}").at(0);
  EXPECT_EQ(row.at("Names"), json({"/db", "/web/my-data", "/web/db"}));
  const auto& spec = host_.last_container();
  const std::string short_id = db.substr(0, 12);
  EXPECT_NE(spec.settings.hosts_file.find("172.17.0.2\tmy-data " + short_id +
                                          " db\n172.17.0.2\tdb " + short_id + "\n"),
            std::string::npos)
      << spec.settings.hosts_file;
  for (const char* variable :
       {"MY_DATA_PORT=udp://172.17.0.2:53", "MY_DATA_PORT_5432_TCP=tcp://172.17.0.2:5432",
        "MY_DATA_PORT_5432_TCP_ADDR=172.17.0.2", "MY_DATA_PORT_5432_TCP_PORT=5432",
        "MY_DATA_PORT_5432_TCP_PROTO=tcp", "MY_DATA_NAME=/web/my-data", "MY_DATA_ENV_USER=me",
        "DB_NAME=/web/db"})
    EXPECT_EQ(std::count(spec.process.env.begin(), spec.process.env.end(), variable), 1)
        << variable;
  EXPECT_EQ(std::count(spec.process.env.begin(), spec.process.env.end(), "MY_DATA_ENV_HOME=/x"), 0);

  // Who has links hears of another address, and a link is to a container, not to its name.
  ASSERT_EQ(status("POST", "/containers/db/rename?name=data"), 204);
  EXPECT_EQ(get("/containers/web/json").at("HostConfig").at("Links").at(0), "/data:/web/my-data");
  ASSERT_EQ(status("POST", "/containers/data/kill"), 204);
  run_until([&] { return (*containers_->find(db))->run.machine == nullptr; });
  const std::string other = create_over_api({{"Image", "busybox"}, {"Cmd", {"sleep", "1000"}}});
  ASSERT_EQ(status("POST", "/containers/" + other + "/start"), 204);
  ASSERT_EQ(status("POST", "/containers/data/start"), 204);
  const auto& files = host_.last_network_files();
  run_until([&] { return !files.added_hosts.empty(); });
  EXPECT_EQ(files.removed_hosts.at(0), "172.17.0.2\tmy-data " + short_id + " db");
  EXPECT_EQ(files.added_hosts.at(0), "172.17.0.4\tmy-data " + short_id + " data");
}

TEST_F(NetworksApiTest, BadLinksAreRefusedAtCreate) {
  const auto refused = [&](json host) {
    const auto answer = call("POST", "/containers/create",
                             {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", host}});
    EXPECT_EQ(static_cast<int>(answer.status), 400) << answer.body;
    return json::parse(answer.body).value("message", "");
  };
  EXPECT_EQ(refused({{"Links", {"nobody:x"}}}),
            "could not get container for nobody: No such container: nobody");
  EXPECT_EQ(refused({{"Links", {"a:b:c"}}}), "invalid link format: bad format for links: a:b:c");
  EXPECT_NE(refused({{"Links", {"a"}}, {"NetworkMode", "container:a"}}).find("conflicting options"),
            std::string::npos);
}

TEST_F(NetworksApiTest, ANetworkInUseStaysAndOneWithoutUsersIsPruned) {
  create_network({{"Name", "busy"}});
  create_network({{"Name", "idle"}});
  const std::string id = run_on({{"busy", json::object()}}, {}, "?name=web");
  const auto refused = call("DELETE", "/networks/busy");

  EXPECT_EQ(static_cast<int>(refused.status), 403);
  EXPECT_EQ(json::parse(refused.body).at("message"),
            "error while removing network: network busy has active endpoints (name:\"web\" id:\"" +
                id.substr(0, 12) + "\")");
  EXPECT_EQ(json::parse(call("POST", "/networks/prune").body).at("NetworksDeleted"),
            json({"idle"}));
  EXPECT_EQ(status("POST", "/containers/" + id + "/kill"), 204);
  run_until([&] { return (*containers_->find(id))->run.machine == nullptr; });
  EXPECT_EQ(status("DELETE", "/networks/busy"), 204);
  EXPECT_EQ(status("DELETE", "/networks/busy"), 404);
}

TEST_F(NetworksApiTest, PublishedPortsAreShownAndGivenBack) {
  const std::string id = create_over_api(
      {{"Image", "busybox"},
       {"Cmd", {"sleep", "1000"}},
       {"ExposedPorts", {{"80/tcp", json::object()}, {"53/udp", json::object()}}},
       {"HostConfig",
        {{"PortBindings", {{"80/tcp", {{{"HostIp", "127.0.0.1"}, {"HostPort", "8080"}}}}}}}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const json ports = get("/containers/" + id + "/json").at("NetworkSettings").at("Ports");

  EXPECT_EQ(ports.at("80/tcp"), json::parse(R"([{"HostIp":"127.0.0.1","HostPort":"8080"}])"));
  EXPECT_EQ(ports.at("53/udp"), nullptr);
  EXPECT_EQ(get("/containers/json").at(0).at("Ports"),
            json::parse(R"([{"PrivatePort":53,"Type":"udp"},
                {"IP":"127.0.0.1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}])"));
  EXPECT_EQ(get("/containers/json?filters={\"publish\":[\"8080\"]}").size(), 1u);
  EXPECT_EQ(host_.networks().ports_in_use(), 1u);
  EXPECT_EQ(status("POST", "/containers/" + id + "/kill"), 204);
  run_until([&] { return host_.networks().ports_in_use() == 0; });
}

TEST_F(NetworksApiTest, APortIsOneContainers) {
  const auto create_at = [&](const std::string& port, const std::string& name) {
    return create_over_api(
        {{"Image", "busybox"},
         {"Cmd", {"sleep", "1000"}},
         {"HostConfig", {{"PortBindings", {{"80/tcp", {{{"HostPort", port}}}}}}}}},
        "?name=" + name);
  };
  const std::string first = create_at("8080", "first");
  const std::string second = create_at("8080", "second");
  const std::string third = create_at("8080-8081", "third");
  ASSERT_EQ(status("POST", "/containers/first/start"), 204);

  EXPECT_EQ(start_error("second"),
            "failed to set up container networking: driver failed programming external "
            "connectivity on endpoint second (" +
                second + "): Bind for 0.0.0.0:8080 failed: port is already allocated");
  EXPECT_EQ(host_.endpoints_in_use(), 1u);
  EXPECT_EQ(status("POST", "/containers/third/start"), 204);
  EXPECT_EQ((*containers_->find("third"))->state.machine.ports.at(0).host_port, 8081);
}

TEST_F(NetworksApiTest, EveryExposedPortIsPublishedOnRequest) {
  const std::string id =
      create_over_api({{"Image", "busybox"},
                       {"Cmd", {"sleep", "1000"}},
                       {"ExposedPorts", {{"80/tcp", json::object()}, {"53/udp", json::object()}}},
                       {"HostConfig", {{"PublishAllPorts", true}}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);

  EXPECT_EQ((*containers_->find(id))->state.machine.ports.size(), 2u);
}

TEST_F(NetworksApiTest, BadPortsAreRefusedAtCreate) {
  const auto create_with = [&](const json& bindings) {
    return status(
        "POST", "/containers/create",
        {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", {{"PortBindings", bindings}}}});
  };

  EXPECT_EQ(create_with({{"http", {{{"HostPort", "80"}}}}}), 400);
  EXPECT_EQ(create_with({{"80/tcp", {{{"HostPort", "99999"}}}}}), 400);
  EXPECT_EQ(create_with({{"80/tcp", {{{"HostPort", "90-80"}}}}}), 400);
  EXPECT_EQ(create_with({{"80/tcp", {{{"HostIp", "nowhere"}}}}}), 400);
  EXPECT_EQ(create_with({{"80/sctp", {{{"HostPort", "80"}}}}}), 501);
  EXPECT_EQ(create_with({{"80/tcp", {{{"HostIp", "::1"}}}}}), 501);
  EXPECT_EQ(create_with({{"80/tcp", 7}}), 400);
}

TEST_F(NetworksApiTest, PortsOfAContainerThatRunsOnAreTakenOver) {
  const std::string id =
      create_over_api({{"Image", "busybox"},
                       {"Cmd", {"sleep", "1000"}},
                       {"HostConfig", {{"PortBindings", {{"80/tcp", {{{"HostPort", "8080"}}}}}}}}});
  ASSERT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const std::string stored = engine::to_json_text((*containers_->find(id))->state);

  const auto state = engine::stored_state(stored);
  EXPECT_EQ(state.damage, "");
  ASSERT_EQ(state.value.machine.ports.size(), 1u);
  EXPECT_EQ(state.value.machine.ports[0].host_port, 8080);
  EXPECT_EQ(state.value.machine.endpoints.size(), 1u);
}

}  // namespace
}  // namespace docker
