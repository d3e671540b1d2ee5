#include "api/engine/output/json_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace engine {
namespace {

using protocol::Stream;

std::string line_of(Stream stream, std::string_view text, TimeNs time,
                    std::string_view attributes = {}) {
  std::string line;
  append_log_line(line, stream, text, time, attributes);
  return line;
}

TEST(JsonLog, IsInDockersFormat) {
  const std::string line = line_of(Stream::kStderr, "a \"b\" <c>\t\n", 1'500'000'000);

  EXPECT_EQ(
      line,
      R"({"log":"a \"b\" \u003cc\u003e\u0009\n","stream":"stderr","time":"1970-01-01T00:00:01.5Z"})"
      "\n");
}

TEST(JsonLog, HasItsAttributesBeforeTheTime) {
  const std::string line =
      line_of(Stream::kStdout, "x\n", 1'000'000'000, R"({"colour":"blue","tag":"web"})");

  EXPECT_NE(line.find(R"("stream":"stdout","attrs":{"colour":"blue","tag":"web"},"time":)"),
            std::string::npos);
  const auto entry = parse_log_line(line);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->attributes,
            (std::map<std::string, std::string>{{"colour", "blue"}, {"tag", "web"}}));
}

TEST(JsonLog, IsValidJsonForAnyBytes) {
  std::string all;
  for (int i = 0; i < 256; ++i)
    if (i != '\n') all.push_back(static_cast<char>(i));

  const std::string line =
      line_of(Stream::kStdout, all + "\xe2\x82\xac \xed\xa0\x80 \xf4\x90\x80\x80", 1);

  const auto value = nlohmann::json::parse(line, nullptr, false);
  ASSERT_FALSE(value.is_discarded());
  EXPECT_NE(value.at("log").get<std::string>().find("\xe2\x82\xac"), std::string::npos);
}

TEST(JsonLog, IsNotReadFromDamagedLines) {
  for (const char* damaged : {"", "garbage", R"({"log":1})", R"({"log":"x","stream":"stdout"})"})
    EXPECT_FALSE(parse_log_line(damaged)) << damaged;
}

TEST(Timestamp, IsWrittenWithoutTrailingZeros) {
  EXPECT_EQ(format_time(0), "0001-01-01T00:00:00Z");
  EXPECT_EQ(format_time(1'000'000'000), "1970-01-01T00:00:01Z");
  EXPECT_EQ(format_time(1'020'000'000), "1970-01-01T00:00:01.02Z");
  EXPECT_EQ(format_time_fixed(1'020'000'000), "1970-01-01T00:00:01.020000000Z");
}

TEST(Timestamp, IsReadInDockersForms) {
  EXPECT_EQ(*parse_time(""), 0);
  EXPECT_EQ(*parse_time("12"), 12'000'000'000);
  EXPECT_EQ(*parse_time("12.000000005"), 12'000'000'005);
  EXPECT_EQ(*parse_time("1970-01-01T00:00:01.5Z"), 1'500'000'000);
  EXPECT_EQ(*parse_time("12.0000000059"), 12'000'000'005);
  EXPECT_EQ(*parse_time("-5"), -5'000'000'000);
  EXPECT_EQ(*parse_time("1970-01-01T02:00:01+02:00"), 1'000'000'000);
  EXPECT_EQ(*parse_time("1969-12-31T23:30:01.25-00:30"), 1'250'000'000);
  for (const char* bad : {"x", "1.", "1.x", "1.-5", "99999999999999999999", "1970-01-01T",
                          "1970-01-01T00:00:00", "1970-01-01T00:00:00+2", "0001-01-01T00:00:00Z"})
    EXPECT_FALSE(parse_time(bad)) << bad;
}

}  // namespace
}  // namespace engine
