#include "api/engine/settings/process_settings.h"

#include <gtest/gtest.h>

#include "api/engine/settings/settings.h"

namespace engine {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

/// Of a request that can be read.
ProcessSettings process_of(json config, json host_config = json::object()) {
  config["Image"] = "x";
  config["HostConfig"] = std::move(host_config);
  auto settings = parse_settings(config);
  EXPECT_TRUE(settings) << settings.error().message;
  return settings ? std::move(settings->process) : ProcessSettings();
}

std::string refusal(json config, json host_config = json::object()) {
  config["HostConfig"] = std::move(host_config);
  const auto settings = parse_settings(config);
  return settings ? "" : settings.error().message;
}

TEST(ProcessSettings, AreDockersDefaultsWhereNothingIsSaid) {
  const ProcessSettings process = process_of(json::object());

  EXPECT_TRUE(process.argv.empty());
  EXPECT_EQ(process.directory, "/");
  EXPECT_EQ(process.user, "");
  EXPECT_FALSE(process.tty || process.open_stdin || process.stdin_once || process.use_init);
  EXPECT_EQ(process.stop_signal, SIGTERM);
  EXPECT_EQ(process.stop_timeout, std::chrono::seconds(10));
}

TEST(ProcessSettings, AreReadFromBothParts) {
  const ProcessSettings process =
      process_of({{"Entrypoint", "/entry"},
                  {"Cmd", {"a", "b"}},
                  {"Env", {"A=1", "B"}},
                  {"User", "web:www"},
                  {"WorkingDir", "/srv"},
                  {"Tty", true},
                  {"OpenStdin", true},
                  {"StopSignal", "INT"},
                  {"StopTimeout", 3}},
                 {{"GroupAdd", {"audio"}},
                  {"Init", true},
                  {"OomScoreAdj", -5},
                  {"ConsoleSize", {24u, 80u}},
                  {"Ulimits", {{{"Name", "nofile"}, {"Soft", 10}, {"Hard", -1}}}}});

  EXPECT_EQ(process.argv, Words({"/entry", "a", "b"}));
  EXPECT_EQ(process.env, Words({"A=1", "B"}));
  EXPECT_EQ(process.user, "web:www");
  EXPECT_EQ(process.groups, Words({"audio"}));
  EXPECT_EQ(process.directory, "/srv");
  EXPECT_TRUE(process.tty && process.open_stdin && process.use_init);
  EXPECT_EQ(process.rows, 24);
  EXPECT_EQ(process.columns, 80);
  EXPECT_EQ(process.oom_score_adj, -5);
  EXPECT_EQ(process.stop_signal, SIGINT);
  EXPECT_EQ(process.stop_timeout, std::chrono::seconds(3));
  ASSERT_EQ(process.rlimits.size(), 1u);
  EXPECT_EQ(process.rlimits[0].name, "nofile");
  EXPECT_EQ(process.rlimits[0].soft, 10u);
  EXPECT_EQ(process.rlimits[0].hard, ~std::uint64_t{0});
}

TEST(ProcessSettings, AreRefusedInDockersWords) {
  EXPECT_EQ(refusal({{"Env", {"=x"}}}), "invalid environment variable: =x");
  EXPECT_EQ(refusal({{"WorkingDir", "srv"}}),
            "the working directory 'srv' is invalid, it needs to be an absolute path");
  EXPECT_EQ(refusal({{"StopSignal", "NOISE"}}), "invalid signal: NOISE");
  EXPECT_EQ(refusal(json::object(), {{"Ulimits", {{{"Name", "core"}, {"Soft", 2}, {"Hard", 1}}}}}),
            "ulimit soft limit must be less than or equal to hard limit");
  EXPECT_EQ(refusal(json::object(), {{"ConsoleSize", {1}}}),
            "invalid JSON: HostConfig.ConsoleSize must be [rows, columns]");
}

TEST(ProcessSettings, AStopTimeoutCanBeAddedToATime) {
  const auto longest = parse_settings({{"Image", "x"}, {"StopTimeout", INT64_MAX}});
  const auto never = parse_settings({{"Image", "x"}, {"StopTimeout", INT64_MIN}});

  ASSERT_TRUE(longest && never);
  EXPECT_EQ(longest->process.stop_timeout, std::chrono::hours(24 * 365 * 10));
  EXPECT_EQ(never->process.stop_timeout, std::chrono::seconds(-1));
  EXPECT_FALSE(parse_settings({{"Image", "x"}, {"StopTimeout", UINT64_MAX}}));
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

}  // namespace
}  // namespace engine
