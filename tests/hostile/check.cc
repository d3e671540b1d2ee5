// A hostile guest (guest.c) in containervm-vmm: whatever it does to its devices, registers and
// ports, the monitor lives, answers, stays small, changes no file but the guest's own disk, and
// ends in order.
//
//   hostile_guest_check --vmm PROGRAM --guest ELF [--seeds N] [--actions N] [--seed N]
//   [--own-mib N] [--line TEXT] [--gtest_...]
//
// --own-mib: what the monitor may need beside its guest's memory; --line: more for the guest's
// command line. Seeds count up from one that is new in each run and printed; --seed, or
// CONTAINERVM_FUZZ_SEED, sets it. Where /dev/kvm cannot be opened all is skipped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "tests/hostile/monitor.h"
#include "vmm/base/printable.h"

namespace hostile {
namespace {

std::map<std::string, std::string> options;  // --name value

// How long a guest may take that ends by itself. It is no measure of speed: it ends a guest that
// loops because a device wrote into it.
constexpr int kMostMilliseconds = 100'000;
constexpr int kMostLog = 4096;      // bytes on the monitor's standard error
constexpr int kConsoleTail = 4096;  // launch::Stopped

std::uint64_t number(const std::string& name, std::uint64_t otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
}

Monitor::Programs programs() { return {options["vmm"], options["guest"]}; }

std::string command_line(std::uint64_t seed, std::uint64_t actions, const std::string& more) {
  // The guest is linked to one place.
  return "nokaslr hostile.seed=" + std::to_string(seed) +
         " hostile.actions=" + std::to_string(actions) +
         " hostile.ram=" + std::to_string(Monitor::kMemoryBytes) + " " + more;
}

/// The guest's memory, what describes the layers window in it, and the monitor's own.
long most_kib() {
  return static_cast<long>((Monitor::kMemoryBytes + launch::kLayersWindowBytes / 64) >> 10) +
         static_cast<long>(number("own-mib", 48) << 10);
}

/// What holds for the end of any monitor.
void check(const Ending& ending, const Files& files) {
  EXPECT_TRUE(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == 0)
      << "the monitor ended with status " << ending.status
      << (WIFSIGNALED(ending.status) ? ": signal " + std::to_string(WTERMSIG(ending.status)) : "")
      << "\n"
      << ending.log;
  EXPECT_LE(ending.log_bytes, kMostLog) << ending.log;
  EXPECT_LT(ending.usage.ru_maxrss, most_kib()) << "KiB of memory";
  EXPECT_EQ(files.changed(), "") << "a file was changed that is not the guest's";
  ASSERT_TRUE(ending.stopped) << "the monitor did not say how its guest ended";
  EXPECT_LE(ending.stopped->console_tail.size(), kConsoleTail);
}

/// Runs a guest and checks all that holds for any of them.
Ending run(const std::string& line, int milliseconds = kMostMilliseconds) {
  Files files;
  std::string problem;
  Ending ending;
  {
    auto monitor = Monitor::start(programs(), files, line, problem);
    EXPECT_TRUE(monitor) << problem;
    if (!monitor) return ending;
    monitor->run_until_end(milliseconds, problem);
    EXPECT_EQ(problem, "");
    ending = monitor->finish();
  }
  check(ending, files);
  return ending;
}

std::string repeats(std::uint64_t seed) {
  return "CONTAINERVM_FUZZ_SEED=" + std::to_string(seed) + " repeats this guest";
}

/// The guest went on, until its own end or the host's, or its machine ended with a sentence.
void check_goes_on_or_is_told(const Ending& ending) {
  ASSERT_TRUE(ending.stopped);
  const std::string& message = ending.stopped->message;
  const auto says = [&](const char* text) { return message.find(text) != std::string::npos; };
  switch (ending.stopped->reason) {
    case launch::StopReason::kGuestShutdown:
    case launch::StopReason::kHostRequest:
      return;
    case launch::StopReason::kTripleFault:
      EXPECT_TRUE(says("shut down")) << message;
      return;
    case launch::StopReason::kMonitorError:
      // KVM met something that it does not know. An error of the monitor's own has other words.
      EXPECT_TRUE(says("KVM cannot emulate the guest") || says("the processor refuses to enter"))
          << message;
      return;
    case launch::StopReason::kGuestPanic:
      ADD_FAILURE() << message;
  }
}

class HostileGuest : public testing::Test {
 protected:
  void SetUp() override {
    const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) GTEST_SKIP() << "/dev/kvm cannot be opened";
    ::close(kvm);
    if (::geteuid() != 0) GTEST_SKIP() << "only root gives monitors an account of their own";
  }
};

TEST_F(HostileGuest, DoesWhatItLikesAndTheMonitorLives) {
  const std::uint64_t count = number("seeds", 4), first = number("seed", 1);
  std::uint64_t finished = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(repeats(seed));
    const Ending ending = run(command_line(seed, number("actions", 300), options["line"]));
    if (!ending.stopped) continue;
    const std::string told = "hostile guest: seed " + std::to_string(seed) + ", all";
    const bool all = ending.stopped->console_tail.find(told) != std::string::npos;
    finished += all ? 1 : 0;
    std::printf("  seed %llu: %s; %ld KiB\n", static_cast<unsigned long long>(seed),
                ending.stopped->message.c_str(), ending.usage.ru_maxrss);
    if (!options["line"].empty())
      std::printf("%s%s\n", ending.log.c_str(),
                  base::printable(ending.stopped->console_tail).c_str());
    std::fflush(stdout);
  }
  std::printf("  %llu of %llu guests came to the end of what they do\n",
              static_cast<unsigned long long>(finished), static_cast<unsigned long long>(count));
  // A few guests do not, as they told a device to write over their own program.
  EXPECT_GE(2 * finished, count);
}

TEST_F(HostileGuest, UsesPortsOfAllKinds) {
  SCOPED_TRACE(repeats(number("seed", 1)));
  const Ending ending = run(command_line(number("seed", 1), 0, "hostile.ports=1"));

  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kGuestShutdown) << ending.stopped->message;
}

TEST_F(HostileGuest, DoesNotDisturbTheMachineBesideIt) {
  const std::uint64_t seed = number("seed", 1);
  SCOPED_TRACE(repeats(seed));
  Files files;
  std::string problem;
  auto neighbour =
      Monitor::start(programs(), files, command_line(seed, 0, "hostile.end=10"), problem);
  ASSERT_TRUE(neighbour) << problem;

  run(command_line(seed, number("actions", 300), ""));

  const auto status = neighbour->status(problem);
  const Ending ending = neighbour->finish();
  ASSERT_TRUE(status) << problem;
  EXPECT_TRUE(status->running);
  EXPECT_EQ(status->guest_faults, 0u);
  check(ending, files);
  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kHostRequest) << ending.stopped->message;
  EXPECT_NE(ending.stopped->console_tail.find("right"), std::string::npos);
  EXPECT_EQ(ending.stopped->console_tail.find("wrong"), std::string::npos);
}

TEST_F(HostileGuest, ThatFaultsThreeTimesIsReported) {
  const Ending ending = run(command_line(1, 0, "hostile.end=1"));

  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kTripleFault) << ending.stopped->message;
}

TEST_F(HostileGuest, ThatHaltsForEverIsStoppedByTheHost) {
  const Ending ending = run(command_line(1, 0, "hostile.end=2"), 500);

  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kHostRequest);
}

TEST_F(HostileGuest, ThatSpinsForEverIsStoppedByTheHost) {
  const Ending ending = run(command_line(1, 0, "hostile.end=3"), 500);

  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kHostRequest);
}

// What the processor does with the following is KVM's affair.
TEST_F(HostileGuest, ThatResetsItsOwnProcessorHarmsNobody) {
  check_goes_on_or_is_told(run(command_line(1, 0, "hostile.end=4"), 2000));
}

TEST_F(HostileGuest, ThatRunsIntoTheInterruptControllerHarmsNobody) {
  check_goes_on_or_is_told(run(command_line(1, 0, "hostile.end=5"), 2000));
}

TEST_F(HostileGuest, ThatRunsIntoDeviceRegistersHarmsNobody) {
  check_goes_on_or_is_told(run(command_line(1, 0, "hostile.end=6"), 2000));
}

TEST_F(HostileGuest, ThatCallsItsHypervisorHarmsNobody) {
  SCOPED_TRACE(repeats(number("seed", 1)));
  check_goes_on_or_is_told(run(command_line(number("seed", 1), 0, "hostile.end=8"), 2000));
}

TEST_F(HostileGuest, ThatUsesOddInstructionsHarmsNobody) {
  const std::uint64_t seed = number("seed", 1);
  SCOPED_TRACE(repeats(seed));
  constexpr int kInstructionKinds = 8;  // processor.h
  for (int kind = 0; kind < kInstructionKinds; ++kind) {
    SCOPED_TRACE("kind " + std::to_string(kind));
    const Ending ending =
        run(command_line(seed, 0, "hostile.end=9 hostile.only=" + std::to_string(kind)), 2000);
    check_goes_on_or_is_told(ending);
    if (ending.stopped) std::printf("  kind %d: %s\n", kind, ending.stopped->message.c_str());
  }
}

TEST_F(HostileGuest, ThatPrintsFasterThanItsConsoleTakesCostsNoMemory) {
  const Ending ending = run(command_line(1, 0, "hostile.end=7"), 5000);

  ASSERT_TRUE(ending.stopped);
  EXPECT_EQ(ending.stopped->reason, launch::StopReason::kHostRequest) << ending.stopped->message;
}

}  // namespace
}  // namespace hostile

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* const given = std::getenv("CONTAINERVM_FUZZ_SEED");
  hostile::options["seed"] = given ? given : std::to_string(std::random_device()() % 1'000'000'000);
  for (int i = 1; i + 1 < argc; i += 2) hostile::options[argv[i] + 2] = argv[i + 1];
  if (hostile::options["vmm"].empty() || hostile::options["guest"].empty()) {
    std::fprintf(stderr,
                 "usage: hostile_guest_check --vmm PROGRAM --guest ELF [--seeds N] "
                 "[--actions N] [--seed N] [--own-mib N] [--line TEXT]\n");
    return 2;
  }
  std::printf("CONTAINERVM_FUZZ_SEED=%s repeats these guests\n", hostile::options["seed"].c_str());
  const int result = RUN_ALL_TESTS();
  const auto& done = *testing::UnitTest::GetInstance();
  if (done.skipped_test_count() > 0 && done.successful_test_count() == 0)
    std::printf("All of it is skipped.\n");
  return result;
}
