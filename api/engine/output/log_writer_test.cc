#include "api/engine/output/log_writer.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>

#include "api/engine/output/log_cursor.h"

namespace engine {
namespace {

using protocol::Stream;
using Texts = std::vector<std::string>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string numbered_lines(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i) text += std::to_string(i) + "\n";
  return text;
}

class LogWriterTest : public testing::Test {
 protected:
  LogWriterTest() {
    char name[] = "/tmp/containervm-log-XXXXXX";
    directory_ = ::mkdtemp(name);
    restart();
  }
  ~LogWriterTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path path() const { return directory_ / "log"; }
  void restart() { writer_ = std::make_unique<LogWriter>(path()); }

  LogWriter::Turn append(std::string_view text) {
    auto turn = writer_->append(Stream::kStdout, bytes_of(text), 1);
    EXPECT_TRUE(turn.written);
    return turn;
  }
  /// Turns until all of it is taken; how many it took.
  int append_all(std::string_view text) {
    int turns = 0;
    for (; !text.empty(); ++turns) text.remove_prefix(append(text).taken);
    return turns;
  }

  /// Rotated ones of an earlier run, without a line.
  void make_files(int count) {
    for (int number = 1; number <= count; ++number)
      std::ofstream(path().string() + "." + std::to_string(number)) << number << "\n";
  }
  static void compress(const std::string& name) {
    GzipReplacement file(name, name + ".gz");
    while (!*file.step()) {
    }
  }

  std::shared_ptr<LogCursor> open(bool follow) {
    auto cursor = std::make_shared<LogCursor>(writer_->files(), follow);
    for (bool done = false; !done;) {
      const auto opened = cursor->open_some();
      EXPECT_TRUE(opened);
      done = !opened || *opened;
    }
    writer_->add_cursor(cursor);
    return cursor;
  }
  static void seek(LogCursor& cursor, std::size_t lines) {
    for (bool done = false; !done;) {
      const auto sought = cursor.seek_some(lines);
      EXPECT_TRUE(sought);
      done = !sought || *sought;
    }
  }
  static std::string text_of(LogCursor& cursor) {
    std::string text;
    for (;;) {
      const auto batch = cursor.next_batch();
      EXPECT_TRUE(batch);
      if (!batch) return text;
      for (const LogEntry& entry : batch->entries) text += entry.text;
      if (batch->at_end) return text;
    }
  }
  std::string read_all() { return text_of(*open(false)); }

  std::filesystem::path directory_;
  std::unique_ptr<LogWriter> writer_;
};

TEST_F(LogWriterTest, ATurnEncodesABoundedAmount) {
  writer_->begin({});
  const std::string flood(64u << 10, '\n');

  const auto turn = append(flood);

  EXPECT_FALSE(turn.done);
  EXPECT_GT(turn.taken, 0u);
  EXPECT_LE(turn.encoded, LogWriter::kTurnBytes + 100);
  EXPECT_EQ(std::filesystem::file_size(path()), turn.encoded);
}

TEST_F(LogWriterTest, ATurnTakesLongLinesAndTheirEscapesInPieces) {
  writer_->begin({});
  const std::string binary(1u << 20, '\xff');

  const auto turn = append(binary);

  EXPECT_FALSE(turn.done);
  EXPECT_LE(turn.encoded, LogWriter::kTurnBytes + LogWriter::kMaxLine * 6 + 100);
  EXPECT_EQ(turn.unfinished, 0u);
}

TEST_F(LogWriterTest, ARotationCostsTheSameHoweverManyFilesThereAre) {
  make_files(1000);
  writer_->begin({.max_size = 1, .max_files = 1'000'000});

  append_all("first\n");
  const auto rotated = append("second\n");

  EXPECT_TRUE(rotated.done);
  EXPECT_LT(rotated.encoded, LogWriter::kTurnBytes / 8);
  EXPECT_TRUE(std::filesystem::exists(path().string() + ".1001"));
  EXPECT_FALSE(std::filesystem::exists(path().string() + ".1002"));
  EXPECT_EQ(read_all(), "first\nsecond\n");
}

TEST_F(LogWriterTest, FilesOfALargerLimitGoInPieces) {
  make_files(1000);
  writer_->begin({.max_size = 1, .max_files = 3});
  append_all("first\n");

  const int turns = append_all(numbered_lines(0, 100));

  EXPECT_GT(turns, 1000 / LogWriter::kTurnChanges);
  EXPECT_EQ(read_all(), numbered_lines(97, 100));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 4);
}

TEST_F(LogWriterTest, IsReadWholeAcrossRotations) {
  writer_->begin({.max_size = 1, .max_files = 500});
  append_all(numbered_lines(0, 300));
  const auto before = open(false);
  const auto follower = open(true);
  seek(*before, 200);

  append_all("300\n");

  EXPECT_EQ(text_of(*before), numbered_lines(100, 300));
  EXPECT_EQ(text_of(*follower), numbered_lines(0, 301));
}

TEST_F(LogWriterTest, LosesAndRepeatsNothingWhereverItIsKilled) {
  const std::string text = numbered_lines(0, 15000);
  writer_->begin({.max_size = 5000, .max_files = 1000});
  int kills = 0;
  for (std::size_t at = 0; at < text.size(); ++kills) {
    append(std::string_view(text).substr(at));
    restart();
    const auto position = writer_->resume({.max_size = 5000, .max_files = 1000});
    ASSERT_TRUE(position);
    at = position->out;
  }

  EXPECT_GT(kills, 3);
  EXPECT_EQ(read_all(), text);
}

TEST_F(LogWriterTest, GoesOnBehindAFileThatIsMissing) {
  writer_->begin({.max_size = 1, .max_files = 4});
  append_all(numbered_lines(0, 4));
  std::filesystem::remove(path().string() + ".2");
  restart();
  writer_->resume({.max_size = 1, .max_files = 4});
  EXPECT_EQ(read_all(), "0\n2\n3\n");

  append_all(numbered_lines(4, 6));

  EXPECT_EQ(read_all(), numbered_lines(2, 6));
}

TEST_F(LogWriterTest, AFullLogWaitsForTheCompressionOfTheLastFile) {
  writer_->begin({.max_size = 1, .max_files = 5, .compress = true});
  append_all("0\n");

  const auto rotated = append("1\n2\n");

  EXPECT_EQ(rotated.to_compress, path().string() + ".1");
  EXPECT_TRUE(rotated.blocked);
  EXPECT_EQ(rotated.taken, 2u);
  EXPECT_EQ(append("2\n").taken, 0u);
  compress(path().string() + ".1");
  writer_->compressed();
  EXPECT_EQ(append("2\n").taken, 2u);
  EXPECT_EQ(read_all(), numbered_lines(0, 3));
}

TEST_F(LogWriterTest, FindsTheTailOfAFileThatIsCompressedMeanwhile) {
  writer_->begin({.max_size = 2000, .max_files = 5, .compress = true});
  append_all(numbered_lines(0, 29));  // one more than there is room for
  ASSERT_TRUE(std::filesystem::exists(path().string() + ".1"));
  const auto cursor = open(false);
  seek(*cursor, 20);

  compress(path().string() + ".1");

  EXPECT_EQ(text_of(*cursor), numbered_lines(9, 29));
}

TEST_F(LogWriterTest, AReaderFindsManyFilesOverSeveralTurnsAndHoldsFewOpen) {
  writer_->begin({});
  for (int number = 1; number <= 3000; ++number)
    std::ofstream(path().string() + "." + std::to_string(number))
        << R"({"log":"x\n","stream":"stdout","time":"2026-01-01T00:00:00Z"})"
        << "\n";
  LogCursor cursor(writer_->files(), false);

  int turns = 1;
  while (!*cursor.open_some()) ++turns;

  EXPECT_GT(turns, 3);
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  EXPECT_LT(descriptors(), 100);
  EXPECT_EQ(text_of(cursor).size(), 2u * 3000);
}

TEST_F(LogWriterTest, ReadsWhatAnEarlierVersionNumberedBackwards) {
  const auto make = [&](const std::string& name, const std::string& text, TimeNs time) {
    std::string line;
    append_log_line(line, Stream::kStdout, text, time);
    std::ofstream(name) << line;
  };
  make(path().string() + ".2", "first\n", 1);
  make(path().string() + ".1", "second\n", 2);
  make(path().string(), "third\n", 3);

  EXPECT_EQ(read_all(), "first\nsecond\nthird\n");

  restart();
  writer_->begin({.max_size = 1, .max_files = 5});
  append_all("fourth\n");
  EXPECT_EQ(read_all(), "first\nsecond\nthird\nfourth\n");
}

}  // namespace
}  // namespace engine
