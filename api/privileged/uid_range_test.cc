#include "api/privileged/uid_range.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>

#include "vmm/base/unique_fd.h"

namespace engine {
namespace {

namespace fs = std::filesystem;

/// Who lives in a range is asked of the whole host, so these tests run one at a time, in however
/// many processes: the lock is on the program itself.
class UidRangeTest : public testing::Test {
 protected:
  UidRangeTest() : alone_(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)) {
    if (::flock(alone_.get(), LOCK_EX) != 0) throw std::runtime_error("flock");
    std::string name = fs::temp_directory_path() / "uid-range-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~UidRangeTest() override { fs::remove_all(directory_); }

  UidRange claim(const std::string& state) {
    auto range = UidRange::claim(directory_ / "registry", directory_ / state);
    if (!range) throw std::runtime_error(range.error().message);
    return *std::move(range);
  }

  base::UniqueFd alone_;
  fs::path directory_;
};

/// A process that has this uid until the end of the scope.
class Inhabitant {
 public:
  explicit Inhabitant(uid_t uid) : pid_(::fork()) {
    if (pid_ == 0) {
      ::close_range(3, ~0u, 0);  // not a part of the lock
      if (::setresuid(uid, uid, uid) != 0) ::_exit(1);
      for (;;) ::pause();
    }
    // Seen by others once it has changed.
    while (::kill(pid_, 0) == 0 && uid_of(pid_) != uid) ::usleep(1000);
  }
  ~Inhabitant() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  static uid_t uid_of(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("Uid:")) return static_cast<uid_t>(std::stoul(line.substr(4)));
    return 0;
  }
  pid_t pid_;
};

TEST_F(UidRangeTest, DaemonsThatRunAtOnceHaveDifferentOnes) {
  const UidRange one = claim("one");
  const UidRange other = claim("other");

  EXPECT_NE(one.first_uid(), other.first_uid());
  EXPECT_EQ((other.first_uid() - UidRange::kFirst) % UidRange::kUids, 0u);
}

TEST_F(UidRangeTest, TheNextDaemonOfAStateHasTheSameOne) {
  const UidRange first = claim("first");
  std::optional<UidRange> one = claim("one");
  const uid_t before = one->first_uid();
  one.reset();

  EXPECT_EQ(claim("one").first_uid(), before);
}

TEST_F(UidRangeTest, ACopyOfAStateGetsOneOfItsOwn) {
  const UidRange one = claim("one");
  fs::create_directories(directory_ / "copy");
  fs::copy(directory_ / "one" / "uid-range", directory_ / "copy" / "uid-range");

  EXPECT_NE(claim("copy").first_uid(), one.first_uid());
}

TEST_F(UidRangeTest, ARangeInWhichAMonitorLivesOnIsItsOwnDaemonsOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::optional<UidRange> killed = claim("killed");
  const uid_t uid = killed->first_uid();
  const Inhabitant monitor(uid + 3);
  killed.reset();

  {
    const UidRange other = claim("other");
    EXPECT_NE(other.first_uid(), uid);
  }
  EXPECT_EQ(claim("killed").first_uid(), uid);
}

TEST_F(UidRangeTest, ARangeThatNobodyIsInIsUsedAgain) {
  std::optional<UidRange> gone = claim("gone");
  const uid_t uid = gone->first_uid();
  gone.reset();

  EXPECT_EQ(claim("other").first_uid(), uid);
}

}  // namespace
}  // namespace engine
