#include "api/engine/output/log_order.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <array>
#include <fstream>
#include <map>

#include "api/engine/output/json_log.h"

namespace engine {
namespace {

namespace fs = std::filesystem;

class LogOrderTest : public testing::Test {
 protected:
  ~LogOrderTest() override { fs::remove_all(directory_); }

  static fs::path make_directory() {
    char name[] = "/tmp/containervm-order-XXXXXX";
    return ::mkdtemp(name);
  }

  /// A rotated file whose first line was written at `second`; compressed, if its name says so.
  void make(const std::string& suffix, const std::string& text, int second) {
    std::string lines;
    append_log_line(lines, protocol::Stream::kStdout, text + "\n", second * TimeNs{1'000'000'000});
    append_log_line(lines, protocol::Stream::kStdout, "more\n", 100 * TimeNs{1'000'000'000});
    const fs::path path = log_.string() + suffix;
    gzFile file = ::gzopen(path.c_str(), suffix.ends_with(".gz") ? "wb" : "wbT");
    ASSERT_EQ(::gzwrite(file, lines.data(), static_cast<unsigned>(lines.size())),
              static_cast<int>(lines.size()));
    ASSERT_EQ(::gzclose(file), Z_OK);
  }

  /// By the ends of their names: what the files say first.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      std::array<char, 4096> text{};
      gzFile file = ::gzopen(entry.path().c_str(), "rb");
      const int size = ::gzread(file, text.data(), text.size());
      ::gzclose(file);
      const std::string_view lines(text.data(), static_cast<std::size_t>(std::max(size, 0)));
      const auto line = parse_log_line(lines.substr(0, lines.find('\n')));
      found[entry.path().filename().string().substr(log_.filename().string().size())] =
          line ? line->text.substr(0, line->text.size() - 1) : "";
    }
    return found;
  }

  const fs::path directory_ = make_directory();
  const fs::path log_ = directory_ / "id-json.log";
};

using Found = std::map<std::string, std::string>;

TEST_F(LogOrderTest, FilesOfAnEarlierVersionGetNumbersThatGrow) {
  make(".3.gz", "oldest", 1);
  make(".2.gz", "middle", 2);
  make(".1", "newest", 3);
  make("", "present", 4);

  settle_log_order(log_);

  EXPECT_EQ(files(),
            (Found{{".4.gz", "oldest"}, {".5.gz", "middle"}, {".6", "newest"}, {"", "present"}}));
}

TEST_F(LogOrderTest, ASecondCallChangesNothing) {
  make(".2", "older", 1);
  make(".1", "newer", 2);
  settle_log_order(log_);
  const Found once = files();

  settle_log_order(log_);

  EXPECT_EQ(files(), once);
}

TEST_F(LogOrderTest, FilesOfTheirPresentKindStayAsTheyAre) {
  make(".1", "oldest", 1);
  make(".2", "middle", 2);
  make(".3", "newest", 2);
  const Found before = files();

  settle_log_order(log_);

  EXPECT_EQ(files(), before);
}

TEST_F(LogOrderTest, FilesOfOneMomentStayAsTheyAre) {
  for (const char* suffix : {".1", ".2", ".3"}) make(suffix, suffix, 1);
  const Found before = files();

  settle_log_order(log_);

  EXPECT_EQ(files(), before);
}

TEST_F(LogOrderTest, AClockThatWasSetBackOnceMakesNoOtherOrder) {
  make(".1", "oldest", 10);
  make(".2", "middle", 20);
  make(".3", "newest", 5);
  const Found before = files();

  settle_log_order(log_);

  EXPECT_EQ(files(), before);
}

TEST_F(LogOrderTest, GoesOnAfterAnInterruption) {
  make(".1", "newest", 4);
  make(".2", "newer", 3);
  make(".5", "oldest", 1);  // they were .4 and .3
  make(".6", "older", 2);

  settle_log_order(log_);

  EXPECT_EQ(files(), (Found{{".5", "oldest"}, {".6", "older"}, {".7", "newer"}, {".8", "newest"}}));
}

TEST_F(LogOrderTest, GoesOnWithTheLastOne) {
  make(".1", "newest", 3);
  make(".4", "oldest", 1);
  make(".5", "older", 2);

  settle_log_order(log_);

  EXPECT_EQ(files(), (Found{{".4", "oldest"}, {".5", "older"}, {".6", "newest"}}));
}

TEST_F(LogOrderTest, OneThatWasBeingCompressedKeepsBothForms) {
  make(".1", "newest", 3);
  make(".1.gz", "newe", 3);
  make(".2", "oldest", 1);

  settle_log_order(log_);

  EXPECT_EQ(files(), (Found{{".3", "oldest"}, {".4", "newest"}, {".4.gz", "newe"}}));
}

TEST_F(LogOrderTest, FilesWithoutLinesOfOursStayAsTheyAre) {
  make(".2", "older", 1);
  std::ofstream(log_.string() + ".1") << "no line of ours\n";
  const Found before = files();

  settle_log_order(log_);

  EXPECT_EQ(files(), before);
}

TEST_F(LogOrderTest, OfALogWithoutFilesThereIsNone) {
  settle_log_order(log_);
  make(".1", "the only one", 1);

  settle_log_order(log_);

  EXPECT_EQ(files(), (Found{{".1", "the only one"}}));
}

}  // namespace
}  // namespace engine
