#include "api/engine/settings/health_settings.h"

#include <gtest/gtest.h>

#include "api/engine/settings/settings.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;
using namespace std::chrono_literals;

base::Result<Settings> parse(json health) {
  return parse_settings({{"Image", "x"}, {"Cmd", {"true"}}, {"Healthcheck", std::move(health)}});
}

std::string refusal(json health) {
  const auto settings = parse(std::move(health));
  return settings ? "" : settings.error().message;
}

images::ContainerDefaults image_with_check() {
  images::ContainerDefaults image;
  image.healthcheck = images::Healthcheck{.test = {"CMD", "image"},
                                          .interval = 7s,
                                          .timeout = 8s,
                                          .start_period = 9s,
                                          .start_interval = 10s,
                                          .retries = 11};
  return image;
}

TEST(HealthSettings, AreShownWithTheFieldsThatSaySomething) {
  const auto settings = parse(
      {{"test", {"CMD", "true"}}, {"Interval", 1'000'000}, {"Timeout", 0}, {"Retries", nullptr}});

  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->document.config.at("Healthcheck"),
            (json{{"Test", {"CMD", "true"}}, {"Interval", 1'000'000}}));
}

TEST(HealthSettings, AreRefusedInDockersWords) {
  EXPECT_EQ(refusal({{"Interval", -10'000'000}}),
            "Interval in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(refusal({{"Interval", 500'000}}), "Interval in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(refusal({{"Timeout", 1}}), "Timeout in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(refusal({{"StartPeriod", 100}}), "StartPeriod in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(refusal({{"StartInterval", 100}}),
            "StartInterval in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(refusal({{"Retries", -1}}), "Retries in Healthcheck cannot be negative");
}

TEST(HealthSettings, AreRefusedWhenTheyAreMalformed) {
  for (const json& bad :
       {json{{"Test", "true"}}, json{{"Test", {1}}}, json{{"Test", {"CMD"}}},
        json{{"Interval", "1s"}}, json{{"Interval", 1.5}}, json{{"Retries", UINT64_MAX}},
        json{{"Test", {"CMD", std::string("a\0b", 3)}}}})
    EXPECT_NE(refusal(bad), "") << bad;
  EXPECT_EQ(parse({{"Gadget", 1}}).error().code, Code::kNotSupported);
}

TEST(HealthSettings, GiveDockersDefaults) {
  const auto settings = parse({{"Test", {"CMD", "probe", "me"}}});
  ASSERT_TRUE(settings);

  const std::optional<HealthCheck>& check = settings->health.check;

  ASSERT_TRUE(check);
  EXPECT_EQ(check->command, (std::vector<std::string>{"probe", "me"}));
  EXPECT_EQ(check->interval, 30s);
  EXPECT_EQ(check->timeout, 30s);
  EXPECT_EQ(check->start_period, 0s);
  EXPECT_EQ(check->start_interval, 5s);
  EXPECT_EQ(check->retries, 3);
}

TEST(HealthSettings, TakeFromTheImageWhatTheClientLeftOut) {
  auto settings = parse({{"Timeout", 1'000'000'000}, {"Retries", 1}});
  ASSERT_TRUE(settings);

  settings = settings_with_defaults(*settings, image_with_check(), "host");
  ASSERT_TRUE(settings);

  EXPECT_EQ(settings->document.config.at("Healthcheck"), (json{{"Test", {"CMD", "image"}},
                                                               {"Interval", 7'000'000'000},
                                                               {"Timeout", 1'000'000'000},
                                                               {"StartPeriod", 9'000'000'000},
                                                               {"StartInterval", 10'000'000'000},
                                                               {"Retries", 1}}));
  const std::optional<HealthCheck>& check = settings->health.check;
  ASSERT_TRUE(check);
  EXPECT_EQ(check->timeout, 1s);
  EXPECT_EQ(check->start_interval, 10s);
}

TEST(HealthSettings, TakeTheImagesCheckWhenTheClientSaysNothing) {
  auto settings = parse(nullptr);
  ASSERT_TRUE(settings);

  settings = settings_with_defaults(*settings, image_with_check(), "host");
  ASSERT_TRUE(settings);

  const std::optional<HealthCheck>& check = settings->health.check;
  ASSERT_TRUE(check);
  EXPECT_EQ(check->command, std::vector<std::string>{"image"});
  EXPECT_EQ(check->retries, 11);
}

TEST(HealthSettings, NoneDisablesTheImagesCheck) {
  auto settings = parse({{"Test", {"NONE"}}});
  ASSERT_TRUE(settings);

  settings = settings_with_defaults(*settings, image_with_check(), "host");
  ASSERT_TRUE(settings);

  EXPECT_FALSE(settings->health.check);
  EXPECT_FALSE(settings->health.warning);
}

TEST(HealthSettings, RunAShellsCommandWithTheContainersShell) {
  const json health{{"Test", {"CMD-SHELL", "exit 1"}}};
  const auto settings = parse(health);
  const auto with_shell =
      parse_settings({{"Image", "x"}, {"Healthcheck", health}, {"Shell", {"/bin/bash", "-ec"}}});
  ASSERT_TRUE(settings && with_shell);

  const std::optional<HealthCheck>& check = settings->health.check;
  const std::optional<HealthCheck>& other = with_shell->health.check;

  ASSERT_TRUE(check && other);
  EXPECT_EQ(check->command, (std::vector<std::string>{"/bin/sh", "-c", "exit 1"}));
  EXPECT_EQ(other->command, (std::vector<std::string>{"/bin/bash", "-ec", "exit 1"}));
}

TEST(HealthSettings, OfAnUnknownKindAreNoCheckAndAWarning) {
  const auto settings = parse({{"Test", {"SHELL", "true"}}});
  ASSERT_TRUE(settings);

  const std::optional<HealthCheck>& check = settings->health.check;

  EXPECT_FALSE(check);
  EXPECT_EQ(settings->health.warning, "Unknown healthcheck type 'SHELL' (expected 'CMD')");
}

TEST(HealthSettings, NeverGiveATimeThatOverflowsAClock) {
  const auto settings = parse({{"Test", {"CMD", "x"}}, {"Interval", INT64_MAX}});
  ASSERT_TRUE(settings);

  const std::optional<HealthCheck>& check = settings->health.check;

  ASSERT_TRUE(check);
  EXPECT_LE(check->interval, std::chrono::hours(24 * 365 * 100));
}

}  // namespace
}  // namespace engine
