#include "api/engine/settings/log_settings.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

/// As it is kept of a request, or of a row, whatever the options say.
LogConfig config(const std::map<std::string, std::string>& options) { return {.options = options}; }

LogSubject subject() {
  return {.id = std::string(64, 'c'),
          .name = "web",
          .image_id = "sha256:0123456789",
          .image_name = "busybox:latest",
          .command = {"echo", "hi"},
          .env = {"COLOUR=blue", "SIZE=<9>", "EMPTY="},
          .labels = {{"team", "red"}, {"tier", "front"}, {"other", "x"}}};
}

/// The error of a create request with these options; "" if there is none.
std::string refusal(json options, std::string type = "json-file") {
  const auto checked =
      parse_log_config({{"Type", std::move(type)}, {"Config", std::move(options)}});
  return checked ? "" : checked.error().message;
}

/// The error at start.
std::string failure(const std::map<std::string, std::string>& options) {
  const auto settings = log_settings_for(config(options), subject());
  return settings ? "" : settings.error().message;
}

std::string attributes(const std::map<std::string, std::string>& options) {
  return log_settings_for(config(options), subject())->attributes;
}

TEST(LogSettings, AreBoundedWithoutOptions) {
  const auto settings = log_settings_for(LogConfig(), subject());

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->max_size, kDefaultLogSize);
  EXPECT_EQ(settings->max_files, kDefaultLogFiles);
  EXPECT_FALSE(settings->compress);
  EXPECT_TRUE(settings->blocking);
  EXPECT_EQ(settings->attributes, "");
}

TEST(LogSettings, ReadWhatRotates) {
  const auto settings = log_settings_for(
      config({{"max-size", "1.5M"}, {"max-file", "3"}, {"compress", "T"}}), subject());

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->max_size, 1'500'000);
  EXPECT_EQ(settings->max_files, 3);
  EXPECT_TRUE(settings->compress);
}

TEST(LogSettings, ReadSizesAsDockerDoes) {
  const auto size = [](const char* text) {
    return log_settings_for(config({{"max-size", text}}), subject())->max_size;
  };

  EXPECT_EQ(size("10m"), 10'000'000);
  EXPECT_EQ(size("1k"), 1000);
  EXPECT_EQ(size("7000"), 7000);
  EXPECT_EQ(size("7000b"), 7000);
  EXPECT_EQ(size("2 GB"), 2'000'000'000);
  EXPECT_EQ(size("1KiB"), 1000);
}

TEST(LogSettings, ReadTheMode) {
  const auto settings =
      log_settings_for(config({{"mode", "non-blocking"}, {"max-buffer-size", "4k"}}), subject());

  ASSERT_TRUE(settings);
  EXPECT_FALSE(settings->blocking);
  EXPECT_EQ(settings->max_buffer, 4096);
}

TEST(LogSettings, RefuseAtCreateWhatDockerRefusesThen) {
  EXPECT_EQ(refusal({{"max-sizes", "1m"}}), "unknown log opt 'max-sizes' for json-file log driver");
  EXPECT_EQ(refusal({{"mode", "sometimes"}}), "logger: logging mode not supported: sometimes");
  EXPECT_EQ(refusal({{"max-buffer-size", "1m"}}),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  EXPECT_EQ(refusal({{"mode", "non-blocking"}, {"max-buffer-size", "x"}}),
            "error parsing option max-buffer-size: invalid size: 'x'");
  EXPECT_EQ(refusal({}, "nonsense"),
            "error looking up logging plugin nonsense: plugin \"nonsense\" not found");
  EXPECT_EQ(refusal({{"max-size", 5}}),
            "invalid JSON: HostConfig.LogConfig.Config must be an object of strings");
  EXPECT_EQ(refusal({{"max-size", "garbage"}}), "");  // said at start
  EXPECT_EQ(refusal({{"anything", "x"}}, "none"), "");
}

TEST(LogSettings, ReadEachBoundWithoutTheOther) {
  const auto size = log_settings_for(config({{"max-size", "10m"}}), subject());
  const auto files = log_settings_for(config({{"max-file", "3"}}), subject());

  EXPECT_EQ(size->max_files, 1);
  EXPECT_EQ(files->max_size, kDefaultLogSize);
  EXPECT_EQ(files->max_files, 3);
}

TEST(LogSettings, RefuseAtCreateWhatWouldBeMostlyRotation) {
  EXPECT_EQ(refusal({{"max-size", "1"}}),
            "log opt max-size=1 is less than this host's least, 1000 bytes");
  EXPECT_EQ(refusal({{"max-size", "1k"}}), "");
  EXPECT_EQ(refusal({{"max-size", "1m"}, {"max-file", "1000000"}}),
            "log opt max-file=1000000 is more than this host's most, 1000");
  EXPECT_EQ(refusal({{"max-size", "1m"}, {"max-file", "1000"}}), "");
}

TEST(LogSettings, KeepAnOlderContainerToTheBounds) {
  const auto settings =
      log_settings_for(config({{"max-size", "1"}, {"max-file", "1000000"}}), subject());

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->max_size, kLeastLogSize);
  EXPECT_EQ(settings->max_files, kMostLogFiles);
  EXPECT_EQ(settings->remark, "max-size=1 is taken as 1000, max-file=1000000 is taken as 1000");
}

TEST(LogSettings, RefuseWhatThisHostDoesNotHave) {
  const auto local = parse_log_config({{"Type", "local"}});
  const auto function = parse_log_config({{"Config", {{"tag", "{{upper .Name}}"}}}});

  ASSERT_FALSE(local);
  ASSERT_FALSE(function);
  EXPECT_EQ(local.error().code, Code::kNotSupported);
  EXPECT_EQ(function.error().code, Code::kNotSupported);
}

TEST(LogSettings, RefuseBadValuesAtStartInDockersWords) {
  EXPECT_EQ(failure({{"max-size", "x"}}), "invalid size: 'x'");
  EXPECT_EQ(failure({{"max-size", "-1"}}), "invalid size: '-1'");
  EXPECT_EQ(failure({{"max-size", "10q"}}), "invalid suffix: 'q'");
  EXPECT_EQ(failure({{"max-size", "a1"}}), "strconv.ParseFloat: parsing \"a1\": invalid syntax");
  EXPECT_EQ(failure({{"max-size", "0"}}), "max-size must be a positive number");
  EXPECT_EQ(failure({{"max-file", "x"}}), "strconv.Atoi: parsing \"x\": invalid syntax");
  EXPECT_EQ(failure({{"max-file", "99999999999999999999"}}),
            "strconv.Atoi: parsing \"99999999999999999999\": value out of range");
  EXPECT_EQ(failure({{"max-file", "0"}}), "max-file cannot be less than 1");
  EXPECT_EQ(failure({{"compress", "maybe"}}),
            "strconv.ParseBool: parsing \"maybe\": invalid syntax");
  EXPECT_EQ(failure({{"compress", "true"}, {"max-size", "1m"}}),
            "compress cannot be true when max-file is less than 2 or max-size is not set");
  EXPECT_NE(failure({{"labels-regex", "("}}).find("error parsing regexp: "), std::string::npos);
}

TEST(LogSettings, ChooseLabelsAndVariables) {
  EXPECT_EQ(attributes({{"labels", "team,missing"}}), R"({"team":"red"})");
  EXPECT_EQ(attributes({{"labels-regex", "^t"}}), R"({"team":"red","tier":"front"})");
  EXPECT_EQ(attributes({{"env", "COLOUR,EMPTY,NONE"}}), R"({"COLOUR":"blue","EMPTY":""})");
  EXPECT_EQ(attributes({{"env-regex", "SI"}}), R"({"SIZE":"\u003c9\u003e"})");
}

TEST(LogSettings, ExpandTheTag) {
  EXPECT_EQ(attributes({{"tag", "{{.ID}}/{{ .Name }}"}}), R"({"tag":"cccccccccccc/web"})");
  EXPECT_EQ(attributes({{"tag", "{{.ImageName}} {{.Command}} {{.DaemonName}}"}}),
            R"({"tag":"busybox:latest echo hi docker"})");
  EXPECT_EQ(attributes({{"tag", "{{.ImageID}}"}}), R"({"tag":"sha256:01234"})");
  EXPECT_EQ(failure({{"tag", "{{.Name"}}), "template: log-tag:1: unclosed action");
  EXPECT_EQ(
      failure({{"tag", "{{.Colour}}"}}),
      "template: log-tag:1:2: executing \"log-tag\" at <.Colour>: can't evaluate field Colour "
      "in type *logger.Info");
}

TEST(LogSettings, BoundTheAttributes) {
  LogSubject large = subject();
  large.labels["large"] = std::string(kMaxLogAttributes, 'x');

  const auto settings = log_settings_for(config({{"labels", "large"}}), large);

  EXPECT_FALSE(settings);
}

}  // namespace
}  // namespace engine
