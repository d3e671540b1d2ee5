#include "api/engine/json_log.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace engine {
namespace {

using protocol::Stream;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class JsonLogTest : public testing::Test {
 protected:
  JsonLogTest() {
    char name[] = "/tmp/containervm-log-XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ / "log";
  }
  ~JsonLogTest() override { std::filesystem::remove_all(directory_); }

  std::vector<std::string> read_all(std::optional<std::size_t> tail = std::nullopt) {
    JsonLogReader reader(path_);
    if (tail) {
      EXPECT_TRUE(reader.seek_to_tail(*tail));
    }
    std::vector<std::string> texts;
    for (;;) {
      const auto entry = reader.next();
      if (!entry || !*entry) return texts;
      texts.push_back((*entry)->text);
    }
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(JsonLogTest, WritesDockersFormat) {
  JsonLogWriter writer(path_);

  ASSERT_TRUE(writer.append(Stream::kStderr, bytes_of("a \"b\" <c>\n"), 1'500'000'000));

  std::ifstream file(path_);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(
      line,
      R"({"log":"a \"b\" \u003cc\u003e\n","stream":"stderr","time":"1970-01-01T00:00:01.5Z"})");
}

TEST_F(JsonLogTest, KeepsAnUnfinishedLineUntilItsEnd) {
  JsonLogWriter writer(path_);

  ASSERT_TRUE(writer.append(Stream::kStdout, bytes_of("on"), 1));
  EXPECT_TRUE(read_all().empty());
  ASSERT_TRUE(writer.append(Stream::kStdout, bytes_of("e\ntwo"), 2));
  ASSERT_TRUE(writer.finish(3));

  EXPECT_EQ(read_all(), (std::vector<std::string>{"one\n", "two"}));
}

TEST_F(JsonLogTest, SplitsALineThatIsTooLong) {
  JsonLogWriter writer(path_);

  ASSERT_TRUE(writer.append(Stream::kStdout,
                            bytes_of(std::string(JsonLogWriter::kMaxLine + 5, 'x') + "\n"), 1));

  const auto texts = read_all();
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[0].size(), JsonLogWriter::kMaxLine);
  EXPECT_EQ(texts[1], "xxxxx\n");
}

TEST_F(JsonLogTest, IsValidJsonForAnyBytes) {
  std::string all;
  for (int i = 0; i < 256; ++i)
    if (i != '\n') all.push_back(static_cast<char>(i));
  std::string line;

  append_log_line(line, Stream::kStdout, all + "\xe2\x82\xac \xed\xa0\x80 \xf4\x90\x80\x80", 1);

  const auto value = nlohmann::json::parse(line, nullptr, false);
  ASSERT_FALSE(value.is_discarded());
  EXPECT_NE(value.at("log").get<std::string>().find("\xe2\x82\xac"), std::string::npos);
}

TEST_F(JsonLogTest, FindsTheTail) {
  JsonLogWriter writer(path_);
  for (int i = 0; i < 5000; ++i)
    ASSERT_TRUE(writer.append(Stream::kStdout, bytes_of(std::to_string(i) + "\n"), i + 1));

  EXPECT_EQ(read_all(2), (std::vector<std::string>{"4998\n", "4999\n"}));
  EXPECT_TRUE(read_all(0).empty());
  EXPECT_EQ(read_all(3000).front(), "2000\n");
  EXPECT_EQ(read_all(9999).size(), 5000u);
}

TEST_F(JsonLogTest, SeesWhatIsAppendedLater) {
  JsonLogWriter writer(path_);
  JsonLogReader reader(path_);
  ASSERT_FALSE(*reader.next());

  ASSERT_TRUE(writer.append(Stream::kStdout, bytes_of("late\n"), 1));

  const auto entry = reader.next();
  ASSERT_TRUE(entry && *entry);
  EXPECT_EQ((*entry)->text, "late\n");
}

TEST_F(JsonLogTest, SkipsDamagedLines) {
  std::ofstream(path_) << "garbage\n{\"log\":1}\n"
                       << R"({"log":"ok\n","stream":"stdout","time":"2026-01-01T00:00:00Z"})"
                       << "\n";

  EXPECT_EQ(read_all(), std::vector<std::string>{"ok\n"});
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
  for (const char* bad : {"x", "-5", "1.", "1.0000000001", "99999999999999999999", "1970-01-01T"})
    EXPECT_FALSE(parse_time(bad)) << bad;
}

}  // namespace
}  // namespace engine
