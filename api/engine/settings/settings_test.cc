#include "api/engine/settings/settings.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <set>
#include <sstream>

#include "api/engine/security/capabilities.h"
#include "api/engine/settings/settings_fields.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

json body(json host_config = json::object()) {
  return {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", std::move(host_config)}};
}

json on_networks(json endpoints, const std::string& mode = "default") {
  json request = body({{"NetworkMode", mode}});
  request["NetworkingConfig"]["EndpointsConfig"] = std::move(endpoints);
  return request;
}

Code code_of(const json& request) {
  const auto settings = parse_settings(request);
  return settings ? Code::kInternal : settings.error().code;
}

TEST(Settings, FillsInTheDefaultOfEveryField) {
  const auto settings = parse_settings(body());

  ASSERT_TRUE(settings);
  for (const Field& field : config_fields())
    EXPECT_TRUE(settings->document.config.contains(std::string(field.name))) << field.name;
  for (const Field& field : host_config_fields())
    EXPECT_TRUE(settings->document.host_config.contains(std::string(field.name))) << field.name;
  EXPECT_EQ(settings->naming.network, "bridge");
  EXPECT_EQ(settings->process.stop_signal, SIGTERM);
}

TEST(Settings, ShowsTheDefaultNetworkByItsName) {
  for (const char* mode : {"", "default", "bridge"}) {
    const auto settings = parse_settings(body({{"NetworkMode", mode}}));
    ASSERT_TRUE(settings) << mode;
    EXPECT_EQ(settings->document.host_config.at("NetworkMode"), "bridge") << mode;
  }
  EXPECT_EQ(parse_settings(body())->document.host_config.at("NetworkMode"), "bridge");
}

TEST(Settings, AcceptsEveryFieldAtItsDefault) {
  json config = body();
  for (const Field& field : config_fields())
    if (field.name != "Image" && field.name != "Cmd")
      config[std::string(field.name)] = json::parse(field.default_json);
  for (const Field& field : host_config_fields())
    config["HostConfig"][std::string(field.name)] = json::parse(field.default_json);

  const auto settings = parse_settings(config);

  EXPECT_TRUE(settings) << settings.error().message;
}

TEST(Settings, RefusesEveryRefusedFieldThatAsksForSomething) {
  const auto asking = [](FieldType type) -> json {
    switch (type) {
      case FieldType::kBool:
        return true;
      case FieldType::kInteger:
        return 7;
      case FieldType::kString:
        return "x";
      case FieldType::kStrings:
      case FieldType::kCommand:
        return json::array({"x"});
      case FieldType::kStringMap:
        return {{"x", "y"}};
      case FieldType::kSet:
      case FieldType::kObject:
        return {{"x", json::object()}};
      case FieldType::kArray:
        return json::array({json::object()});
    }
    return nullptr;
  };

  for (const Field& field : host_config_fields()) {
    if (field.support != Support::kRefused) continue;
    const json request = body({{std::string(field.name), asking(field.type)}});
    EXPECT_EQ(code_of(request), Code::kNotSupported) << field.name;
  }
  for (const Field& field : endpoint_fields()) {
    if (field.support != Support::kRefused) continue;
    const json request = on_networks({{"mine", {{std::string(field.name), asking(field.type)}}}});
    EXPECT_EQ(code_of(request), Code::kNotSupported) << field.name;
  }
}

TEST(Settings, KnowEveryFieldOfAnEndpoint) {
  // EndpointSettings of the API's description, 1.51.
  const std::set<std::string_view> described{
      "IPAMConfig",  "Links",       "MacAddress",        "Aliases",  "DriverOpts",
      "GwPriority",  "NetworkID",   "EndpointID",        "Gateway",  "IPAddress",
      "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "DNSNames", "GlobalIPv6PrefixLen"};
  std::set<std::string_view> known;
  for (const Field& field : endpoint_fields()) known.insert(field.name);

  EXPECT_EQ(known, described);
}

TEST(Settings, TakeTheNetworksOfARequestOrElseTheNetworkMode) {
  const json empty = json::object();
  const json as_the_client_sends{{"IPAMConfig", nullptr}, {"Aliases", nullptr}, {"MacAddress", ""}};

  EXPECT_TRUE(parse_settings(on_networks({{"default", as_the_client_sends}})));
  EXPECT_TRUE(parse_settings(on_networks({{"bridge", empty}})));
  EXPECT_TRUE(parse_settings(on_networks({{"bridge", nullptr}}, "bridge")));
  EXPECT_TRUE(parse_settings(on_networks({{"none", empty}}, "none")));
  EXPECT_TRUE(parse_settings(on_networks({{"mine", empty}}, "mine")));  // an error at start
  EXPECT_EQ(code_of(on_networks({{"bridge", {{"Gadget", 1}}}})), Code::kNotSupported);
  EXPECT_EQ(code_of(on_networks({{"bridge", 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(on_networks(json::array())), Code::kInvalidArgument);
  const auto names = [](const json& request) {
    std::string text;
    const auto settings = parse_settings(request);
    for (const EndpointSettings& endpoint : settings->endpoints) text += endpoint.network + " ";
    return text;
  };
  EXPECT_EQ(names(body({})), "bridge ");
  EXPECT_EQ(names(body({{"NetworkMode", "mine"}})), "mine ");
  EXPECT_EQ(names(on_networks({{"a", empty}, {"mine", empty}}, "mine")), "mine a ");
  EXPECT_EQ(names(on_networks({{"default", empty}})), "bridge ");
}

TEST(Settings, TakeAMacAddressForTheMainNetwork) {
  json request = on_networks({{"mine", json::object()}, {"other", json::object()}}, "mine");
  request["MacAddress"] = "02:00:00:00:00:07";
  const auto settings = parse_settings(request);
  ASSERT_TRUE(settings) << settings.error().message;

  EXPECT_EQ(settings->endpoints.at(0).mac, parse_mac("02:00:00:00:00:07").value());
  EXPECT_FALSE(settings->endpoints.at(1).mac);
  request["NetworkingConfig"]["EndpointsConfig"]["mine"]["MacAddress"] = "02:00:00:00:00:08";
  EXPECT_EQ(code_of(request), Code::kInvalidArgument);
}

TEST(Settings, KeepTheirNetworksInARow) {
  const auto asked = parse_settings(on_networks(
      {{"mine", {{"Aliases", {"db"}}, {"IPAMConfig", {{"IPv4Address", "10.1.0.5"}}}}}}, "mine"));
  ASSERT_TRUE(asked) << asked.error().message;
  const json row{{"config", asked->document.config},
                 {"host_config", asked->document.host_config},
                 {"networks", asked->document.networks}};
  const auto stored = stored_settings(row.dump());

  EXPECT_EQ(stored.damage, "");
  ASSERT_EQ(stored.value.endpoints.size(), 1u);
  EXPECT_EQ(stored.value.endpoints[0].address, "10.1.0.5");
  EXPECT_EQ(stored.value.endpoints[0].aliases, std::vector<std::string>{"db"});
  // A row of an earlier daemon has no networks in it.
  json older = row;
  older.erase("networks");
  EXPECT_EQ(stored_settings(older.dump()).value.endpoints.at(0).network, "mine");
}

TEST(Settings, RefusesFieldsThatItDoesNotKnow) {
  EXPECT_EQ(code_of(body({{"Gadget", 1}})), Code::kNotSupported);
  EXPECT_TRUE(parse_settings(body({{"Gadget", nullptr}})));
}

TEST(Settings, RefusesValuesOfTheWrongType) {
  EXPECT_EQ(code_of(json::array()), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"Image", 5}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"Env", {1}}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"HostConfig", "x"}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of(body({{"Memory", "1g"}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(body({{"Memory", 1e30}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(body({{"Memory", UINT64_MAX}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of({{"Cmd", {std::string("a\0b", 3)}}}), Code::kInvalidArgument);
}

TEST(Settings, TakesNamesWithoutRegardToCase) {
  const auto settings =
      parse_settings({{"image", "busybox"}, {"hostconfig", {{"memory", 8 << 20}}}});

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->image, "busybox");
  EXPECT_EQ(settings->document.host_config.at("Memory"), 8 << 20);
}

TEST(Settings, TakesFieldsOfTheHostConfigBesideIt) {
  const auto alone = parse_settings({{"Image", "x"}, {"Dns", {"10.0.0.1"}}, {"Memory", 8 << 20}});
  const auto beside =
      parse_settings({{"Image", "x"}, {"Memory", 8 << 20}, {"HostConfig", {{"Memory", 16 << 20}}}});

  ASSERT_TRUE(alone && beside);
  EXPECT_EQ(alone->document.host_config.at("Dns"), json({"10.0.0.1"}));
  EXPECT_EQ(alone->document.host_config.at("Memory"), 8 << 20);
  EXPECT_EQ(beside->document.host_config.at("Memory"), 16 << 20);
  EXPECT_EQ(code_of({{"Image", "x"}, {"Binds", {"/a:/b:shared"}}}), Code::kNotSupported);
}

TEST(Settings, ChecksLimitsAsDockerDoes) {
  for (const json& bad :
       {json{{"Memory", 1024}},
        json{{"Memory", -1}},
        json{{"NanoCpus", -5}},
        json{{"MemorySwap", 1 << 30}},
        json{{"CpuPeriod", 10}},
        json{{"CpuQuota", 10}},
        json{{"ShmSize", -1}},
        json{{"CpusetCpus", "a"}},
        json{{"RestartPolicy", {{"Name", "sometimes"}}}},
        json{{"RestartPolicy", {{"Name", "always"}}}, {"AutoRemove", true}},
        json{{"Ulimits", {{{"Name", "nofile"}, {"Soft", 9}, {"Hard", 8}}}}},
        json{{"Ulimits", {{{"Name", "nofile"}, {"Hard", UINT64_MAX}}}}},
        json{{"Ulimits", {{{"Name", "nofile"}, {"Soft", 1e30}}}}},
        json{{"RestartPolicy", {{"Name", "on-failure"}, {"MaximumRetryCount", UINT64_MAX - 5}}}},
        json{{"Memory", UINT64_MAX}},
        json{{"PidsLimit", 1e300}},
        json{{"OomScoreAdj", UINT64_MAX}},
        json{{"BlkioWeight", 70000}},
        json{{"BlkioWeightDevice", {{{"Path", "/x"}, {"Weight", UINT64_MAX}}}}},
        json{{"Mounts",
              {{{"Type", "tmpfs"},
                {"Target", "/x"},
                {"TmpfsOptions", {{"SizeBytes", UINT64_MAX}}}}}}},
        json{{"Mounts",
              {{{"Type", "tmpfs"},
                {"Target", "/x"},
                {"TmpfsOptions", {{"Mode", std::int64_t{1} << 40}}}}}}},
        json{{"ConsoleSize", {1, 99999}}},
        json{{"Tmpfs", {{"tmp", ""}}}}})
    EXPECT_EQ(code_of(body(bad)), Code::kInvalidArgument) << bad;
}

TEST(Settings, ChecksTheRetriesOfARestartPolicyAsDockerDoes) {
  const auto refusal = [](const char* name, int retries) {
    const auto settings =
        parse_settings(body({{"RestartPolicy", {{"Name", name}, {"MaximumRetryCount", retries}}}}));
    return settings ? "" : settings.error().message;
  };
  const std::string only =
      "invalid restart policy: maximum retry count can only be used with 'on-failure'";

  EXPECT_EQ(refusal("on-failure", 3), "");
  EXPECT_EQ(refusal("", 3), "");
  EXPECT_EQ(refusal("always", 3), only);
  EXPECT_EQ(refusal("always", -1), only + " and cannot be negative");
  EXPECT_EQ(refusal("on-failure", -1),
            "invalid restart policy: maximum retry count cannot be negative");
}

TEST(Settings, TakesWhatTheImageGives) {
  auto settings =
      parse_settings({{"Image", "x"}, {"Env", {"B=own", "C"}}, {"Labels", {{"l", "own"}}}});
  ASSERT_TRUE(settings);
  images::ContainerDefaults image;
  image.cmd = {"sh"};
  image.entrypoint = {"/entry"};
  image.env = {"A=1", "B=2", "C=3"};
  image.labels = {{"l", "image"}, {"m", "image"}};
  image.working_dir = "/work";

  settings = settings_with_defaults(*settings, image, "host");
  ASSERT_TRUE(settings);

  EXPECT_EQ(settings->process.argv, (std::vector<std::string>{"/entry", "sh"}));
  EXPECT_EQ(settings->process.env, (std::vector<std::string>{"B=own", "C", "A=1"}));
  EXPECT_EQ(settings->document.config.at("Labels"), (json{{"l", "own"}, {"m", "image"}}));
  EXPECT_EQ(settings->process.directory, "/work");
}

TEST(Settings, DropsTheImagesCommandWithAnOwnEntrypoint) {
  auto settings = parse_settings({{"Image", "x"}, {"Entrypoint", {"/own"}}});
  ASSERT_TRUE(settings);
  images::ContainerDefaults image;
  image.cmd = {"sh"};

  settings = settings_with_defaults(*settings, image, "host");
  ASSERT_TRUE(settings);

  EXPECT_EQ(settings->process.argv, std::vector<std::string>{"/own"});
}

TEST(Settings, NeedsACommand) {
  auto settings = parse_settings({{"Image", "x"}});
  ASSERT_TRUE(settings);

  const auto applied = settings_with_defaults(*settings, {}, "host");

  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message, "no command specified");
}

TEST(Settings, FieldsTableIsInTheDocumentation) {
  std::ifstream file(FIELDS_DOCUMENT);
  std::stringstream text;
  text << file.rdbuf();

  EXPECT_EQ(text.str(), fields_as_markdown());
}

TEST(Capabilities, AreDockersDefaultsPlusAndMinus) {
  EXPECT_EQ(*capabilities_for({}, {}, false), kDefaultCapabilities);
  EXPECT_EQ(*capabilities_for({"NET_ADMIN"}, {}, false), kDefaultCapabilities | 1u << 12);
  EXPECT_EQ(*capabilities_for({}, {"cap_chown"}, false), kDefaultCapabilities & ~1ull);
  EXPECT_EQ(*capabilities_for({"CHOWN"}, {"ALL"}, false), 1u);
  EXPECT_EQ(*capabilities_for({}, {}, true), kAllCapabilities);
  EXPECT_FALSE(capabilities_for({"FLY"}, {}, false));
}

TEST(Settings, ReadTheRestartPolicy) {
  const auto policy = [](json value) {
    return parse_settings(body({{"RestartPolicy", std::move(value)}}))->restart_policy;
  };

  EXPECT_EQ(policy(json::object()).kind, RestartPolicy::Kind::kNo);
  EXPECT_EQ(policy({{"Name", "always"}}).kind, RestartPolicy::Kind::kAlways);
  EXPECT_EQ(policy({{"Name", "unless-stopped"}}).kind, RestartPolicy::Kind::kUnlessStopped);
  const RestartPolicy on_failure = policy({{"Name", "on-failure"}, {"MaximumRetryCount", 3}});
  EXPECT_EQ(on_failure.kind, RestartPolicy::Kind::kOnFailure);
  EXPECT_EQ(on_failure.maximum_retries, 3);
}

TEST(Settings, ReadWhatIsShownAndFilteredBy) {
  json request = body({{"LogConfig", {{"Type", "none"}}}, {"AutoRemove", true}});
  request["Labels"] = {{"a", "b"}};
  request["ExposedPorts"] = {{"80/tcp", json::object()}};

  const auto settings = parse_settings(request);

  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->labels, (std::map<std::string, std::string>{{"a", "b"}}));
  EXPECT_EQ(settings->exposed_ports, std::set<std::string>{"80/tcp"});
  EXPECT_FALSE(settings->log.writes());
  EXPECT_TRUE(settings->auto_remove);
}

TEST(Naming, IsReadFromBothParts) {
  json request = body({{"ExtraHosts", {"db:10.0.0.2", "up=host-gateway", "six:::1"}},
                       {"Dns", {"10.0.0.1"}},
                       {"DnsSearch", {"example"}},
                       {"DnsOptions", {"ndots:2"}},
                       {"NetworkMode", "none"}});
  request["Hostname"] = "web";
  request["Domainname"] = "example";

  const auto settings = parse_settings(request);

  ASSERT_TRUE(settings) << settings.error().message;
  const Naming& naming = settings->naming;
  EXPECT_EQ(naming.hostname, "web");
  EXPECT_EQ(naming.domainname, "example");
  EXPECT_EQ(naming.network, "none");
  ASSERT_EQ(naming.extra_hosts.size(), 3u);
  EXPECT_EQ(naming.extra_hosts[0].name, "db");
  EXPECT_EQ(naming.extra_hosts[0].address, "10.0.0.2");
  EXPECT_EQ(naming.extra_hosts[1].address, std::nullopt);
  EXPECT_EQ(naming.extra_hosts[2].address, "::1");
  EXPECT_EQ(naming.dns_servers, std::vector<std::string>{"10.0.0.1"});
  EXPECT_EQ(naming.dns_search, std::vector<std::string>{"example"});
  EXPECT_EQ(naming.dns_options, std::vector<std::string>{"ndots:2"});
}

TEST(Naming, IsTheContainersOwnWhereNobodyAskedForAName) {
  auto asked = parse_settings({{"Image", "x"}, {"Cmd", {"true"}}, {"Hostname", "web"}});
  auto silent = parse_settings(body());
  ASSERT_TRUE(asked && silent);

  asked = settings_with_defaults(*asked, {}, "0123456789ab");
  ASSERT_TRUE(asked);
  silent = settings_with_defaults(*silent, {}, "0123456789ab");
  ASSERT_TRUE(silent);

  EXPECT_EQ(asked->naming.hostname, "web");
  EXPECT_EQ(silent->naming.hostname, "0123456789ab");
}

TEST(Naming, HasNoNetworkWhereThatIsDisabled) {
  json request = body();
  request["NetworkDisabled"] = true;

  EXPECT_EQ(parse_settings(request)->naming.network, "none");
  EXPECT_EQ(code_of(body({{"NetworkMode", "host"}})), Code::kNotSupported);
  EXPECT_EQ(code_of({{"Image", "x"}, {"Hostname", "a b"}}), Code::kInvalidArgument);
}

TEST(Security, IsDockersDefaultWhereNothingIsSaid) {
  const auto settings = parse_settings(body());

  ASSERT_TRUE(settings);
  const Security& security = settings->security;
  EXPECT_EQ(security.capabilities, kDefaultCapabilities);
  EXPECT_EQ(security.seccomp_profile, "");
  EXPECT_FALSE(security.privileged || security.no_new_privileges);
}

TEST(Security, ChoosesTheSeccompProfileOfTheLastOption) {
  const auto profile = [](json options, bool privileged = false) {
    const auto settings =
        parse_settings(body({{"Privileged", privileged}, {"SecurityOpt", std::move(options)}}));
    return settings->security.seccomp_profile;
  };

  EXPECT_EQ(profile(nullptr), "");
  EXPECT_EQ(profile({"no-new-privileges"}), "");
  EXPECT_EQ(profile({"seccomp=unconfined"}), std::nullopt);
  EXPECT_EQ(profile({"seccomp:unconfined"}), std::nullopt);
  EXPECT_EQ(profile({"seccomp=unconfined", "seccomp=builtin"}), "");
  EXPECT_EQ(profile({"seccomp={\"a\":1}"}), "{\"a\":1}");
  EXPECT_EQ(profile(nullptr, true), std::nullopt);
  EXPECT_EQ(profile({"seccomp="}, true), std::nullopt);
  EXPECT_EQ(profile({"seccomp={}"}, true), "{}");
}

TEST(Security, TakesNoNewPrivilegesInEachSpelling) {
  const auto wanted = [](const char* option) {
    return parse_settings(body({{"SecurityOpt", {option}}}))->security.no_new_privileges;
  };

  EXPECT_TRUE(wanted("no-new-privileges"));
  EXPECT_TRUE(wanted("no-new-privileges:true"));
  EXPECT_FALSE(wanted("no-new-privileges=false"));
  EXPECT_EQ(code_of(body({{"SecurityOpt", {"no-new-privileges:perhaps"}}})), Code::kNotSupported);
}

TEST(Security, RefusesUnknownCapabilities) {
  const auto settings = parse_settings(body({{"CapAdd", {"FLY"}}}));

  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().message, "invalid CapAdd: unknown capability: \"CAP_FLY\"");
}

TEST(Security, HidesDockersPathsUnlessTheClientSaysOtherwise) {
  const auto hidden = [](json host_config) {
    auto settings = parse_settings(body(std::move(host_config)));
    settings = settings_with_defaults(*settings, {}, "host");
    EXPECT_TRUE(settings);
    return settings->security.masked_paths;
  };

  EXPECT_EQ(hidden(json::object()).front(), "/proc/asound");
  EXPECT_TRUE(hidden({{"Privileged", true}}).empty());
  EXPECT_EQ(hidden({{"MaskedPaths", {"/a"}}}), std::vector<std::string>{"/a"});
  EXPECT_TRUE(hidden({{"MaskedPaths", json::array()}}).empty());
}

TEST(Settings, RefuseWhatDockerRefuses) {
  const auto refusal = [](json host) {
    const auto settings = parse_settings({{"Image", "x"}, {"HostConfig", std::move(host)}});
    return settings ? std::string() : settings.error().message;
  };

  EXPECT_EQ(refusal({{"OomScoreAdj", 2000}}),
            "Invalid value 2000, range for oom score adj is [-1000, 1000]");
  EXPECT_EQ(refusal({{"ExtraHosts", {"alone"}}}), "bad format for add-host: \"alone\"");
  EXPECT_EQ(refusal({{"ExtraHosts", {"a:nowhere"}}}),
            "invalid IP address in add-host: \"nowhere\"");
  EXPECT_EQ(refusal({{"ExtraHosts", {"a:192.0.2.1", "b:::1", "c:host-gateway"}}}), "");
  EXPECT_EQ(refusal({{"CpusetMems", "x"}}), "Invalid value x for cpuset mems: invalid format: x");
  EXPECT_EQ(refusal({{"Mounts", {{{"Type", "tmpfs"}}}}}),
            "invalid mount config for type \"tmpfs\": field Target must not be empty");
  EXPECT_EQ(refusal({{"Mounts", {{{"Type", "odd"}, {"Target", "/x"}}}}}),
            "invalid mount config for type \"odd\": mount type unknown");
}

json with_config(json host_config, json config) {
  config.update(body(std::move(host_config)));
  return config;
}

/// Empty if the request is none.
std::string refusal(json host_config, json config = json::object()) {
  const auto settings = parse_settings(with_config(std::move(host_config), std::move(config)));
  return settings ? "" : settings.error().message;
}

TEST(Sharing, IsReadFromTheModes) {
  const auto settings = parse_settings(body(
      {{"NetworkMode", "container:a"}, {"IpcMode", "container:b"}, {"PidMode", "container:c"}}));

  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->sharing.network, "a");
  EXPECT_EQ(settings->sharing.ipc, "b");
  EXPECT_EQ(settings->sharing.pid, "c");
  EXPECT_TRUE(settings->sharing.joins());
  EXPECT_TRUE(settings->endpoints.empty());
  EXPECT_TRUE(settings->document.networks.empty());
}

TEST(Sharing, IsNothingWhereNothingIsSaid) {
  const auto silent = parse_settings(body(json::object()));
  const auto shareable = parse_settings(body({{"IpcMode", "shareable"}}));
  const auto without = parse_settings(body({{"IpcMode", "none"}}));

  EXPECT_FALSE(silent->sharing.joins() || silent->sharing.shareable_ipc);
  EXPECT_TRUE(shareable->sharing.shareable_ipc && !shareable->sharing.joins());
  EXPECT_TRUE(without->sharing.no_memory_files && !without->sharing.joins());
}

TEST(Sharing, WrongModesAreRefused) {
  EXPECT_EQ(refusal({{"NetworkMode", "container:"}}),
            "Invalid network mode: invalid container format container:<name|id>");
  EXPECT_EQ(refusal({{"NetworkMode", "container"}}),
            "Invalid network mode: invalid container format container:<name|id>");
  EXPECT_EQ(refusal({{"IpcMode", "nonsense"}}), "invalid IPC mode: nonsense");
  EXPECT_EQ(refusal({{"PidMode", "nonsense"}}), "invalid PID mode: nonsense");
  EXPECT_EQ(refusal({{"PidMode", "container:"}}), "invalid PID mode: container:");
  for (const char* field : {"NetworkMode", "IpcMode", "PidMode", "UTSMode"})
    EXPECT_EQ(parse_settings(body({{field, "host"}})).error().code, Code::kNotSupported) << field;
}

TEST(Sharing, WhoSharesANetworkSaysNothingOfOne) {
  const auto conflict = [](json host_config, json config = json::object()) {
    host_config["NetworkMode"] = "container:a";
    return refusal(std::move(host_config), std::move(config));
  };

  EXPECT_EQ(conflict({}, {{"Hostname", "x"}}),
            "conflicting options: hostname and the network mode");
  EXPECT_EQ(conflict({{"Dns", {"192.0.2.1"}}}), "conflicting options: dns and the network mode");
  EXPECT_EQ(conflict({{"ExtraHosts", {"a:192.0.2.1"}}}),
            "conflicting options: custom host-to-IP mapping and the network mode");
  EXPECT_EQ(conflict({{"PortBindings", {{"80/tcp", nullptr}}}}),
            "conflicting options: port publishing and the container type network mode");
  EXPECT_EQ(conflict({{"PublishAllPorts", true}}),
            "conflicting options: port publishing and the container type network mode");
  EXPECT_EQ(conflict({}, {{"ExposedPorts", {{"80/tcp", json::object()}}}}),
            "conflicting options: port exposing and the container type network mode");
  EXPECT_EQ(conflict({}, {{"MacAddress", "02:42:ac:11:00:02"}}),
            "conflicting options: mac-address and the network mode");
}

TEST(Sharing, NorOfAPlaceOnItOrOnAnother) {
  const auto with = [](const std::string& network, json endpoint) {
    json request = body({{"NetworkMode", "container:a"}});
    request["NetworkingConfig"]["EndpointsConfig"][network] = std::move(endpoint);
    const auto settings = parse_settings(request);
    return settings ? "" : settings.error().message;
  };
  const std::string shared =
      "container sharing network namespace with another container or host cannot be connected to "
      "any other network";

  EXPECT_EQ(with("container:a", {{"IPAMConfig", nullptr}, {"Aliases", nullptr}}), "");
  EXPECT_EQ(with("container:a", nullptr), "");
  EXPECT_EQ(with("container:a", {{"MacAddress", "02:42:ac:11:00:02"}}),
            "conflicting options: mac-address and the network mode");
  EXPECT_EQ(with("container:a", {{"Aliases", {"x"}}}), shared);
  EXPECT_EQ(with("mine", json::object()), shared);
}

TEST(Sharing, OtherNamespacesComeWithTheNetworkOrWithNone) {
  for (const char* field : {"IpcMode", "PidMode"}) {
    EXPECT_NE(refusal({{field, "container:a"}}), "");
    EXPECT_NE(refusal({{field, "container:a"}, {"NetworkMode", "mine"}}), "");
    EXPECT_EQ(refusal({{field, "container:a"}, {"NetworkMode", "none"}}), "");
    EXPECT_EQ(refusal({{field, "container:a"}}, {{"NetworkDisabled", true}}), "");
    EXPECT_EQ(refusal({{field, "container:a"}, {"NetworkMode", "container:b"}}), "");
  }
}

TEST(Sharing, HasNoBlockWeightOfItsOwn) {
  EXPECT_EQ(refusal({{"BlkioWeight", 100}}), "");
  EXPECT_NE(refusal({{"BlkioWeight", 100}, {"NetworkMode", "container:a"}}), "");
}

TEST(Sharing, GetsFullIdsAndMayWaitForANetworkOnly) {
  const FindId find = [](const std::string& named) -> std::optional<std::string> {
    if (named == "there") return "0123";
    return std::nullopt;
  };
  const auto ids_of = [&](json host_config) {
    return settings_with_ids(*parse_settings(body(std::move(host_config))), find);
  };

  const auto there = ids_of({{"NetworkMode", "container:there"}, {"PidMode", "container:there"}});
  EXPECT_EQ(there->sharing.network, "0123");
  EXPECT_EQ(there->document.host_config.at("PidMode"), "container:0123");
  EXPECT_EQ(ids_of({{"NetworkMode", "container:later"}})->sharing.network, "later");
  const auto missing = ids_of({{"NetworkMode", "none"}, {"IpcMode", "container:later"}});
  EXPECT_EQ(missing.error().code, Code::kInvalidArgument);
  EXPECT_EQ(missing.error().message, "No such container: later");
}

TEST(Sharing, ImagesMayExposePortsAndStoredSettingsKeepNames) {
  const auto asked = parse_settings(body({{"NetworkMode", "container:a"}}));
  images::ContainerDefaults image;
  image.exposed_ports = {"80/tcp"};
  const auto made = settings_with_defaults(*asked, image, "0123456789ab");
  ASSERT_TRUE(made) << made.error().message;
  const auto donor = parse_settings(with_config({}, {{"Hostname", "web"}, {"Domainname", "test"}}));
  ASSERT_TRUE(donor);

  const auto named = settings_named_as(*made, *donor);
  ASSERT_TRUE(named);
  const json row{{"config", named->document.config},
                 {"host_config", named->document.host_config},
                 {"networks", named->document.networks}};
  const auto stored = stored_settings(row.dump());

  EXPECT_EQ(stored.damage, "");
  EXPECT_EQ(stored.value.naming.hostname, "web");
  EXPECT_EQ(stored.value.naming.domainname, "test");
  EXPECT_EQ(stored.value.sharing.network, "a");
  EXPECT_TRUE(stored.value.endpoints.empty());
}

}  // namespace
}  // namespace engine
