#include "api/engine/settings/settings.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <set>
#include <sstream>

#include "api/engine/security/capabilities.h"
#include "api/engine/settings/settings_checks.h"
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
    EXPECT_TRUE(settings->config.contains(std::string(field.name))) << field.name;
  for (const Field& field : host_config_fields())
    EXPECT_TRUE(settings->host_config.contains(std::string(field.name))) << field.name;
  EXPECT_EQ(settings->network_mode(), "bridge");
  EXPECT_EQ(settings->stop_signal(), SIGTERM);
}

TEST(Settings, ShowsTheDefaultNetworkByItsName) {
  for (const char* mode : {"", "default", "bridge"}) {
    const auto settings = parse_settings(body({{"NetworkMode", mode}}));
    ASSERT_TRUE(settings) << mode;
    EXPECT_EQ(settings->host_config.at("NetworkMode"), "bridge") << mode;
  }
  EXPECT_EQ(parse_settings(body())->host_config.at("NetworkMode"), "bridge");
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
    const bool refused = field.support == Support::kRefused;
    const json request = on_networks({{"bridge", {{std::string(field.name), asking(field.type)}}}});
    EXPECT_EQ(parse_settings(request).has_value(), !refused) << field.name;
    if (refused) {
      EXPECT_EQ(code_of(request), Code::kNotSupported) << field.name;
    }
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

TEST(Settings, TakeOneNetworkWhichIsTheContainersOwn) {
  const json empty = json::object();
  const json as_the_client_sends{{"IPAMConfig", nullptr}, {"Aliases", nullptr}, {"MacAddress", ""}};

  EXPECT_TRUE(parse_settings(on_networks({{"default", as_the_client_sends}})));
  EXPECT_TRUE(parse_settings(on_networks({{"bridge", empty}})));
  EXPECT_TRUE(parse_settings(on_networks({{"bridge", nullptr}}, "bridge")));
  EXPECT_TRUE(parse_settings(on_networks({{"none", empty}}, "none")));
  EXPECT_TRUE(parse_settings(on_networks({{"mine", empty}}, "mine")));  // an error at start
  EXPECT_EQ(code_of(on_networks({{"mine", empty}})), Code::kNotFound);
  EXPECT_EQ(code_of(on_networks({{"none", empty}})), Code::kNotSupported);
  EXPECT_EQ(code_of(on_networks({{"bridge", {{"Gadget", 1}}}})), Code::kNotSupported);
  EXPECT_EQ(code_of(on_networks({{"bridge", 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(on_networks(json::array())), Code::kInvalidArgument);
  const auto two = parse_settings(on_networks({{"bridge", empty}, {"mine", empty}}));
  ASSERT_FALSE(two);
  EXPECT_EQ(two.error().code, Code::kInvalidArgument);
  EXPECT_EQ(two.error().message,
            "Container cannot be created with multiple network endpoints: bridge, mine");
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
  EXPECT_EQ(settings->image(), "busybox");
  EXPECT_EQ(settings->host_config.at("Memory"), 8 << 20);
}

TEST(Settings, TakesFieldsOfTheHostConfigBesideIt) {
  const auto alone = parse_settings({{"Image", "x"}, {"Dns", {"10.0.0.1"}}, {"Memory", 8 << 20}});
  const auto beside =
      parse_settings({{"Image", "x"}, {"Memory", 8 << 20}, {"HostConfig", {{"Memory", 16 << 20}}}});

  ASSERT_TRUE(alone && beside);
  EXPECT_EQ(alone->host_config.at("Dns"), json({"10.0.0.1"}));
  EXPECT_EQ(alone->host_config.at("Memory"), 8 << 20);
  EXPECT_EQ(beside->host_config.at("Memory"), 16 << 20);
  EXPECT_EQ(code_of({{"Image", "x"}, {"Binds", {"/a:/b"}}}), Code::kNotSupported);
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

TEST(Settings, AStopTimeoutCanBeAddedToATime) {
  const auto longest = parse_settings({{"Image", "x"}, {"StopTimeout", INT64_MAX}});
  const auto never = parse_settings({{"Image", "x"}, {"StopTimeout", INT64_MIN}});

  ASSERT_TRUE(longest && never);
  EXPECT_EQ(longest->stop_timeout(), std::chrono::hours(24 * 365 * 10));
  EXPECT_EQ(never->stop_timeout(), std::chrono::seconds(-1));
  EXPECT_EQ(code_of({{"Image", "x"}, {"StopTimeout", UINT64_MAX}}), Code::kInvalidArgument);
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

  ASSERT_TRUE(apply_image_defaults(*settings, image));

  EXPECT_EQ(settings->command_line(), (std::vector<std::string>{"/entry", "sh"}));
  EXPECT_EQ(settings->strings("Env"), (std::vector<std::string>{"B=own", "C", "A=1"}));
  EXPECT_EQ(settings->config.at("Labels"), (json{{"l", "own"}, {"m", "image"}}));
  EXPECT_EQ(settings->text("WorkingDir"), "/work");
}

TEST(Settings, DropsTheImagesCommandWithAnOwnEntrypoint) {
  auto settings = parse_settings({{"Image", "x"}, {"Entrypoint", {"/own"}}});
  ASSERT_TRUE(settings);
  images::ContainerDefaults image;
  image.cmd = {"sh"};

  ASSERT_TRUE(apply_image_defaults(*settings, image));

  EXPECT_EQ(settings->command_line(), std::vector<std::string>{"/own"});
}

TEST(Settings, NeedsACommand) {
  auto settings = parse_settings({{"Image", "x"}});
  ASSERT_TRUE(settings);

  const auto applied = apply_image_defaults(*settings, {});

  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message, "no command specified");
}

TEST(Settings, FieldsTableIsInTheDocumentation) {
  std::ifstream file(FIELDS_DOCUMENT);
  std::stringstream text;
  text << file.rdbuf();

  EXPECT_EQ(text.str(), fields_as_markdown());
}

TEST(Signal, ReadsNamesAndNumbers) {
  EXPECT_EQ(*parse_signal("SIGTERM"), SIGTERM);
  EXPECT_EQ(*parse_signal("usr1"), SIGUSR1);
  EXPECT_EQ(*parse_signal("9"), SIGKILL);
  EXPECT_EQ(*parse_signal("RTMIN+3"), 37);
  EXPECT_EQ(*parse_signal("SIGRTMAX-1"), 63);
}

TEST(Signal, RefusesEverythingElse) {
  for (const char* text : {"", "0", "-1", "65", "SIG", "TERMX", "RTMIN+99", "RTMIN3", "9x"})
    EXPECT_FALSE(parse_signal(text)) << text;
}

TEST(Capabilities, AreDockersDefaultsPlusAndMinus) {
  EXPECT_EQ(*capabilities_for({}, {}, false), kDefaultCapabilities);
  EXPECT_EQ(*capabilities_for({"NET_ADMIN"}, {}, false), kDefaultCapabilities | 1u << 12);
  EXPECT_EQ(*capabilities_for({}, {"cap_chown"}, false), kDefaultCapabilities & ~1ull);
  EXPECT_EQ(*capabilities_for({"CHOWN"}, {"ALL"}, false), 1u);
  EXPECT_EQ(*capabilities_for({}, {}, true), kAllCapabilities);
  EXPECT_FALSE(capabilities_for({"FLY"}, {}, false));
}

TEST(HighestCpu, ReadsListsAndRanges) {
  EXPECT_EQ(highest_cpu("0"), 0u);
  EXPECT_EQ(highest_cpu("0-2,5,3"), 5u);
  EXPECT_EQ(highest_cpu("1,4-7"), 7u);
  for (const char* bad : {"", "x", "1-", "-1", "3-2", "1,,2", "1-2-3", "99999999999", "1,", "0 1"})
    EXPECT_EQ(highest_cpu(bad), std::nullopt) << bad;
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

}  // namespace
}  // namespace engine
