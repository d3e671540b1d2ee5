#include "api/engine/output/container_log.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <fstream>
#include <functional>
#include <future>
#include <optional>

namespace engine {
namespace {

using protocol::Stream;
using Texts = std::vector<std::string>;

class ContainerLogTest : public testing::Test {
 protected:
  ContainerLogTest() {
    char name[] = "/tmp/containervm-log-XXXXXX";
    directory_ = ::mkdtemp(name);
    log_ = make_log(std::chrono::milliseconds(0));
    begin({});
  }
  ~ContainerLogTest() override {
    await(log_->idle());
    std::filesystem::remove_all(directory_);
  }

  std::shared_ptr<ContainerLog> make_log(
      std::chrono::milliseconds patience = ContainerLog::kPatience) {
    return std::make_shared<ContainerLog>(io_.get_executor(), directory_ / "log",
                                          LogPools{.prompt = pool_, .bulk = bulk_}, patience);
  }

  template <typename Condition>
  void run_until(Condition holds) {
    while (!holds()) {
      io_.restart();
      io_.run_one();
    }
  }

  template <typename T>
  T await(net::awaitable<T> task) {
    if constexpr (std::is_void_v<T>) {
      bool done = false;
      net::co_spawn(io_, std::move(task), [&](const std::exception_ptr&) { done = true; });
      run_until([&] { return done; });
    } else {
      std::optional<T> result;
      net::co_spawn(io_, store(std::move(task), result), [](const std::exception_ptr&) {});
      run_until([&] { return result.has_value(); });
      return *std::move(result);
    }
  }
  template <typename T>
  static net::awaitable<void> store(net::awaitable<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
  }

  void begin(LogSettings settings) { await(log_->begin(std::move(settings))); }

  /// Rotates after every line, as no line is shorter.
  void rotate_always(int files, bool compress = false) {
    begin({.max_size = 1, .max_files = files, .compress = compress});
  }

  /// Another container's log.
  void start_afresh() {
    await(log_->idle());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
    log_ = make_log();
  }

  /// As a daemon does that was started after this one was killed.
  std::optional<LogPosition::Streams> resume() {
    log_ = make_log();
    return await(log_->resume({}));
  }

  static ContainerLog::Bytes bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  }

  void write(std::string_view text, TimeNs now = 1, Stream stream = Stream::kStdout) {
    EXPECT_TRUE(await(log_->append(stream, bytes_of(text), now)));
  }
  void write_numbers(int from, int to) {
    for (int i = from; i < to; ++i) write(std::to_string(i) + "\n", i + 1);
  }

  std::unique_ptr<LogReader> open(bool follow, std::optional<std::size_t> tail = std::nullopt) {
    auto reader = await(log_->read(follow));
    EXPECT_TRUE(reader);
    if (tail) {
      EXPECT_TRUE(await((*reader)->seek_to_tail(*tail)));
    }
    return *std::move(reader);
  }

  Texts rest_of(LogReader& reader) {
    Texts texts;
    for (;;) {
      const auto batch = await(reader.next_batch());
      EXPECT_TRUE(batch);
      if (!batch) return texts;
      for (const LogEntry& entry : batch->entries) texts.push_back(entry.text);
      if (batch->at_end) return texts;
    }
  }
  Texts read_all(std::optional<std::size_t> tail = std::nullopt) {
    return rest_of(*open(false, tail));
  }

  Texts files() const {
    Texts names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      if (entry.path().extension() != ".position") names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  net::awaitable<void> wait_at(std::shared_future<void> gate) {
    const std::function<bool()> wait = [gate] {
      gate.wait();
      return true;
    };
    co_await bulk_.run(wait);
  }

  static std::string numbered_lines(int from, int to) {
    std::string text;
    for (int i = from; i < to; ++i) text += std::to_string(i) + "\n";
    return text;
  }
  static Texts numbers(int from, int to) {
    Texts texts;
    for (int i = from; i < to; ++i) texts.push_back(std::to_string(i) + "\n");
    return texts;
  }

  net::io_context io_{1};
  async::BlockingPool pool_{1};
  async::BlockingPool bulk_{1};
  std::filesystem::path directory_;
  std::shared_ptr<ContainerLog> log_;
};

TEST_F(ContainerLogTest, KeepsAnUnfinishedLineUntilItsEnd) {
  write("on");
  EXPECT_TRUE(read_all().empty());

  write("e\ntwo");
  ASSERT_TRUE(await(log_->finish(3)));

  EXPECT_EQ(read_all(), (Texts{"one\n", "two"}));
}

TEST_F(ContainerLogTest, SplitsALongLineIntoPartsOfOneTime) {
  write(std::string(LogWriter::kMaxLine, 'x'), 1);
  write("tail\nnext\n", 2);

  const auto reader = open(false);
  const auto batch = await(reader->next_batch());

  ASSERT_EQ(batch->entries.size(), 3u);
  EXPECT_EQ(batch->entries[0].text.size(), LogWriter::kMaxLine);
  EXPECT_EQ(batch->entries[1].text, "tail\n");
  EXPECT_EQ(batch->entries[1].time, 1);
  EXPECT_EQ(batch->entries[2].time, 2);
}

TEST_F(ContainerLogTest, KeepsTheStreamsApart) {
  write("out", 1, Stream::kStdout);
  write("err\n", 2, Stream::kStderr);
  write("put\n", 3, Stream::kStdout);

  EXPECT_EQ(read_all(), (Texts{"err\n", "output\n"}));
}

TEST_F(ContainerLogTest, FindsTheTail) {
  write_numbers(0, 5000);

  EXPECT_EQ(read_all(2), numbers(4998, 5000));
  EXPECT_TRUE(read_all(0).empty());
  EXPECT_EQ(read_all(3000), numbers(2000, 5000));
  EXPECT_EQ(read_all(9999).size(), 5000u);
}

TEST_F(ContainerLogTest, KeepsTheNewestOfItsRotatedFiles) {
  rotate_always(3);

  write_numbers(0, 5);

  EXPECT_EQ(files(), (Texts{"log", "log.3", "log.4"}));
  EXPECT_EQ(read_all(), numbers(2, 5));
}

TEST_F(ContainerLogTest, KeepsOneFileByDefault) {
  rotate_always(1);

  write_numbers(0, 5);

  EXPECT_EQ(files(), Texts{"log"});
  EXPECT_EQ(read_all(), numbers(4, 5));
}

TEST_F(ContainerLogTest, RotatesWhenTheSizeIsReached) {
  std::string line;
  append_log_line(line, Stream::kStdout, "1\n", 2);
  begin({.max_size = static_cast<std::int64_t>(2 * line.size()), .max_files = 9});

  for (int i = 0; i < 5; ++i) write("1\n", 2);

  EXPECT_EQ(files(), (Texts{"log", "log.1", "log.2"}));
  EXPECT_EQ(std::filesystem::file_size(directory_ / "log.1"), 2 * line.size());
}

TEST_F(ContainerLogTest, CompressesAllButThePresentFile) {
  rotate_always(3, true);

  write_numbers(0, 5);
  await(log_->idle());

  EXPECT_EQ(files(), (Texts{"log", "log.3.gz", "log.4.gz"}));
  EXPECT_EQ(read_all(), numbers(2, 5));
}

TEST_F(ContainerLogTest, CompressesALargeFileBesides) {
  begin({.max_size = 400'000, .max_files = 3, .compress = true});
  write_numbers(0, 6000);
  const auto meanwhile = read_all();

  await(log_->idle());

  EXPECT_EQ(files(), (Texts{"log", "log.1.gz"}));
  EXPECT_EQ(meanwhile, numbers(0, 6000));
  EXPECT_EQ(read_all(), meanwhile);
}

TEST_F(ContainerLogTest, FindsTheTailOverAllFiles) {
  for (const bool compress : {false, true}) {
    begin({.max_size = 1000, .max_files = 50, .compress = compress});
    write_numbers(0, 200);
    EXPECT_GT(files().size(), 3u);

    EXPECT_EQ(read_all(1), numbers(199, 200));
    EXPECT_EQ(read_all(73), numbers(127, 200));
    EXPECT_TRUE(read_all(0).empty());
    start_afresh();
  }
}

TEST_F(ContainerLogTest, FollowsWhatIsAppended) {
  const auto reader = open(true);
  EXPECT_TRUE(rest_of(*reader).empty());

  write("late\n");

  EXPECT_EQ(rest_of(*reader), Texts{"late\n"});
  EXPECT_TRUE(rest_of(*reader).empty());
}

TEST_F(ContainerLogTest, FollowsAcrossRotationsWithoutLossOrDuplication) {
  for (const bool compress : {false, true}) {
    rotate_always(2, compress);
    const auto reader = open(true, 0);
    Texts seen;

    for (int i = 0; i < 1000; ++i) {
      write(std::to_string(i) + "\n");
      if (i % 37 != 0) continue;
      for (std::string& text : rest_of(*reader)) seen.push_back(std::move(text));
    }
    for (std::string& text : rest_of(*reader)) seen.push_back(std::move(text));

    EXPECT_EQ(seen, numbers(0, 1000));
  }
}

TEST_F(ContainerLogTest, FollowsLargeFilesThatAreRotatedAway) {
  begin({.max_size = 100'000, .max_files = 1});
  const auto reader = open(true);

  write_numbers(0, 4000);

  EXPECT_EQ(rest_of(*reader), numbers(0, 4000));
}

TEST_F(ContainerLogTest, WaitsForOneThatFollowsAndThenGoesOnWithoutIt) {
  rotate_always(1);
  const auto reader = open(true);
  write("begun\n");
  rest_of(*reader);
  write_numbers(0, 5000);

  write("end\n");

  const Texts seen = rest_of(*reader);
  EXPECT_LT(seen.size(), 5000u);
  EXPECT_EQ(seen.back(), "end\n");
}

TEST_F(ContainerLogTest, DoesNotFollowWhenNotAsked) {
  write("early\n");
  const auto reader = open(false);

  write("late\n");

  EXPECT_EQ(rest_of(*reader), Texts{"early\n"});
}

TEST_F(ContainerLogTest, GoesOnAfterARestart) {
  rotate_always(3);
  write_numbers(0, 3);
  log_ = make_log();
  rotate_always(3);

  write_numbers(3, 4);

  EXPECT_EQ(read_all(), numbers(1, 4));
}

TEST_F(ContainerLogTest, AnotherDaemonGoesOnWhereTheLogEnds) {
  write("one\ntwo\nhalf");
  write("error\n", 1, Stream::kStderr);
  EXPECT_EQ(log_->unsafe_bytes(Stream::kStdout), 4u);
  EXPECT_EQ(log_->unsafe_bytes(Stream::kStderr), 0u);

  const auto position = resume();

  ASSERT_TRUE(position);
  EXPECT_EQ(position->out, 8u);
  EXPECT_EQ(position->err, 6u);
  write("half of it\n");
  EXPECT_EQ(read_all(), (Texts{"one\n", "two\n", "error\n", "half of it\n"}));
  EXPECT_EQ(resume()->out, 19u);
}

TEST_F(ContainerLogTest, AnotherDaemonTakesBackAWriteThatWasCutOff) {
  write("one\n");
  const auto whole = std::filesystem::file_size(directory_ / "log");
  LogPosition killed;
  ASSERT_TRUE(killed.open(directory_ / "log.position"));
  struct stat status {};
  ASSERT_EQ(::stat((directory_ / "log").c_str(), &status), 0);
  killed.begin_write(status.st_ino, status.st_size);
  std::ofstream(directory_ / "log", std::ios::app) << R"({"log":"tw)";

  const auto position = resume();

  ASSERT_TRUE(position);
  EXPECT_EQ(position->out, 4u);
  EXPECT_EQ(std::filesystem::file_size(directory_ / "log"), whole);
}

TEST_F(ContainerLogTest, CountsOverRotationsSplitLinesAndTheEndOfARun) {
  rotate_always(2);
  write_numbers(0, 3);
  write(std::string(LogWriter::kMaxLine + 10, 'x'));
  EXPECT_EQ(resume()->out, 6u + LogWriter::kMaxLine);

  write("rest");
  ASSERT_TRUE(await(log_->finish(9)));

  EXPECT_EQ(resume()->out, 10u + LogWriter::kMaxLine);
  begin({});
  EXPECT_EQ(resume()->out, 0u);
}

TEST_F(ContainerLogTest, AnotherDaemonDoesNotTrustADamagedPosition) {
  write("one\n");
  std::filesystem::resize_file(directory_ / "log.position", 8);

  EXPECT_FALSE(resume());
  write("two\n");
  EXPECT_EQ(read_all(), (Texts{"one\n", "two\n"}));
}

TEST_F(ContainerLogTest, FinishesTheCompressionOfAnEarlierDaemon) {
  std::ofstream(directory_ / "log.1")
      << R"({"log":"old\n","stream":"stdout","time":"2026-01-01T00:00:00Z"})"
      << "\n";
  std::ofstream(directory_ / "log.1.gz") << "half";

  EXPECT_EQ(read_all(), Texts{"old\n"});
  begin({.max_size = 1000, .max_files = 2, .compress = true});
  await(log_->idle());

  EXPECT_EQ(files(), Texts{"log.1.gz"});
  EXPECT_EQ(read_all(), Texts{"old\n"});
}

TEST_F(ContainerLogTest, SkipsDamagedLinesAndFiles) {
  std::ofstream(directory_ / "log.1.gz") << "\x1f\x8b\x08 not gzip";
  std::ofstream(directory_ / "log")
      << "garbage\n{\"log\":1}\n"
      << std::string(1u << 20, 'x') << "\n"
      << R"({"log":"ok\n","stream":"stdout","time":"2026-01-01T00:00:00Z"})"
      << "\n";

  EXPECT_EQ(read_all(), Texts{"ok\n"});
}

TEST_F(ContainerLogTest, DropsWhatItMayNotWaitForWhenNotBlocking) {
  begin({.max_size = 300'000,
         .max_files = 2,
         .compress = true,
         .blocking = false,
         .max_buffer = 1000});

  std::promise<void> gate;  // nothing is compressed before it opens
  net::co_spawn(io_, wait_at(gate.get_future().share()), net::detached);
  write(numbered_lines(0, 12000));
  gate.set_value();
  await(log_->idle());

  EXPECT_LT(read_all().size(), 12000u);
  EXPECT_LT(std::filesystem::file_size(directory_ / "log"), 302'000u);
}

TEST_F(ContainerLogTest, AFloodLeavesTheIoThreadToOthersAfterEveryTurn) {
  std::uint64_t others = 0;
  bool over = false;
  bool ended = false;
  const auto others_run = [&]() -> net::awaitable<void> {
    for (; !over; ++others) co_await net::post(io_, net::use_awaitable);
    ended = true;
  };
  net::co_spawn(io_, others_run(), net::detached);
  std::vector<std::uint64_t> others_at;
  const auto note = [&](std::size_t, std::size_t) { others_at.push_back(others); };
  const std::string flood(256u << 10, '\n');

  EXPECT_TRUE(await(log_->append(Stream::kStdout, bytes_of(flood), 1, note)));
  over = true;
  run_until([&] { return ended; });

  EXPECT_GT(others_at.size(), flood.size() * 60 / LogWriter::kTurnBytes);
  EXPECT_EQ(std::adjacent_find(others_at.begin(), others_at.end()), others_at.end());
}

TEST_F(ContainerLogTest, AFloodLeavesThePoolToOtherLogs) {
  const auto other = std::make_shared<ContainerLog>(io_.get_executor(), directory_ / "other",
                                                    LogPools{.prompt = pool_, .bulk = pool_});
  std::size_t taken = 0;
  const auto count = [&](std::size_t, std::size_t size) { taken += size; };
  const auto flood = bytes_of(std::string(256u << 10, '\n'));
  bool flooded = false;
  const auto flooding = [&]() -> net::awaitable<void> {
    const auto written = co_await log_->append(Stream::kStdout, flood, 1, count);
    flooded = written.has_value();
  };
  net::co_spawn(io_, flooding(), net::detached);
  run_until([&] { return taken > 0; });

  await(other->begin({}));
  EXPECT_TRUE(await(other->append(Stream::kStdout, bytes_of("prompt\n"), 1)));

  EXPECT_LT(taken, flood->size());
  run_until([&] { return flooded; });
  EXPECT_EQ(taken, flood->size());
}

TEST_F(ContainerLogTest, EveryByteIsEitherReadOrObserved) {
  std::string observed;
  bool observing = false;
  const auto text = bytes_of(numbered_lines(0, 20000));
  const auto observe = [&](std::size_t from, std::size_t size) {
    if (observing) observed.append(reinterpret_cast<const char*>(text->data()) + from, size);
  };
  bool written = false;
  const auto writing = [&]() -> net::awaitable<void> {
    const auto result = co_await log_->append(Stream::kStdout, text, 1, observe);
    written = result.has_value();
  };
  net::co_spawn(io_, writing(), net::detached);

  auto reader = await(log_->read(false, [&] { observing = true; }));
  run_until([&] { return written; });

  ASSERT_TRUE(reader);
  std::string read;
  for (const std::string& line : rest_of(**reader)) read += line;
  EXPECT_EQ(read + observed, numbered_lines(0, 20000));
}

TEST_F(ContainerLogTest, IsWholeAfterManyRotationsUnderAFlood) {
  for (const bool compress : {false, true}) {
    begin({.max_size = 1000, .max_files = 1000, .compress = compress});

    write(numbered_lines(0, 3000));

    EXPECT_EQ(read_all(), numbers(0, 3000));
    await(log_->idle());
    EXPECT_EQ(read_all(5), numbers(2995, 3000));
    start_afresh();
  }
}

TEST_F(ContainerLogTest, WritesNothingMoreWhileItIsDiscarded) {
  write("kept\n");
  std::string observed;
  const auto observe = [&](std::size_t from, std::size_t size) {
    observed += std::string("gone\n").substr(from, size);
  };

  {
    const ContainerLog::Discard discarding = log_->discard();
    EXPECT_TRUE(await(log_->append(Stream::kStdout, bytes_of("gone\n"), 1, observe)));
  }
  write("again\n");

  EXPECT_EQ(observed, "gone\n");
  EXPECT_EQ(read_all(), (Texts{"kept\n", "again\n"}));
}

TEST_F(ContainerLogTest, ADiscardedLogWaitsForNobody) {
  begin({.max_size = 1, .max_files = 5, .compress = true});
  std::promise<void> gate;  // nothing is compressed before it opens
  net::co_spawn(io_, wait_at(gate.get_future().share()), net::detached);
  bool written = false;
  const auto writing = [&]() -> net::awaitable<void> {
    const auto result = co_await log_->append(Stream::kStdout, bytes_of(numbered_lines(0, 100)), 1);
    written = result.has_value();
  };
  net::co_spawn(io_, writing(), net::detached);
  run_until([&] { return log_->changes() > 0; });
  EXPECT_FALSE(written);

  const ContainerLog::Discard discarding = log_->discard();

  run_until([&] { return written; });
  EXPECT_TRUE(await(log_->finish(1)));
  gate.set_value();
}

TEST_F(ContainerLogTest, AReaderThatLeavesInTheMiddleHoldsNothingBack) {
  rotate_always(1);
  auto reader = open(true);
  bool read = false;
  const auto reading = [&]() -> net::awaitable<void> {
    const auto batch = co_await reader->next_batch();
    read = batch.has_value();
  };
  net::co_spawn(io_, reading(), net::detached);
  run_until([&] { return read; });
  reader.reset();

  write_numbers(0, 5000);

  EXPECT_EQ(read_all(), numbers(4999, 5000));
}

}  // namespace
}  // namespace engine
