#include "vmm/sandbox/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "vmm/sandbox/sandboxed_child.h"

namespace sandbox {
namespace {

TEST_F(SandboxTest, KillsWhoOpensAFile) {
  EXPECT_TRUE(killed([] { return ::open("/", O_RDONLY); }));
}

TEST_F(SandboxTest, KillsWhoMakesASocketOrConnects) {
  EXPECT_TRUE(killed([] { return ::socket(AF_INET, SOCK_STREAM, 0); }));
  EXPECT_TRUE(killed([] { return ::connect(0, nullptr, 0); }));
}

TEST_F(SandboxTest, KillsWhoStartsAProgramOrAProcess) {
  EXPECT_TRUE(killed([] { return ::execl("/bin/true", "true", nullptr); }));
  EXPECT_TRUE(killed([] { return ::fork(); }));
  EXPECT_TRUE(killed([] { return ::kill(1, 0); }));
}

TEST_F(SandboxTest, KillsWhoMakesMemoryExecutable) {
  EXPECT_TRUE(killed([] { return map_anonymous(PROT_READ | PROT_EXEC, 0) == MAP_FAILED; }));
  EXPECT_TRUE(
      killed([] { return ::mprotect(map_anonymous(PROT_READ, 0), 4096, PROT_READ | PROT_EXEC); }));
}

TEST_F(SandboxTest, KillsWhoAsksADeviceForWhatAMonitorNeverDoes) {
  EXPECT_TRUE(killed([] { return ::ioctl(0, TIOCSTI, "x"); }));
  EXPECT_TRUE(killed([] { return ::ioctl(0, KVM_CREATE_DEVICE, nullptr); }));
}

TEST_F(SandboxTest, KillsWhoMakesAThreadThatIsMoreThanOne) {
  EXPECT_TRUE(
      killed([] { return static_cast<int>(::syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0)); }));
  EXPECT_EQ(exit_code([] { return ::syscall(SYS_clone3, nullptr, 0) == -1 && errno == ENOSYS; }),
            1);
}

TEST_F(SandboxTest, LetsAMonitorWork) {
  EXPECT_EQ(exit_code([] {
              if (map_anonymous(PROT_READ | PROT_WRITE, 0) == MAP_FAILED) return 1;
              if (::ioctl(-1, KVM_RUN, 0) != -1 || errno != EBADF) return 2;
              if (::ioctl(-1, KVM_CREATE_VM, 0) != -1 || errno != EBADF) return 3;
              return 0;
            }),
            0);
}

TEST_F(SandboxTest, KeepsOnlyTheDescriptorsItIsTold) {
  const base::UniqueFd other(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC, on purpose

  EXPECT_EQ(
      exit_code([&] { return ::ioctl(other.get(), FIONREAD, nullptr) == -1 && errno == EBADF; }),
      1);
}

TEST_F(SandboxTest, HasAnEmptyRootAndNoPrivileges) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  // Looked at from outside, through /proc: the sandbox itself could not.
  int told[2];
  int held[2];  // nothing is ever written to it
  ASSERT_EQ(::pipe(told), 0);
  ASSERT_EQ(::pipe(held), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Settings settings;
    settings.identity = Identity{kUid, kUid};
    settings.descriptors = {told[1], held[0]};
    char byte = enter(std::move(settings)).has_value() ? 'y' : 'n';
    [[maybe_unused]] const auto written = ::write(told[1], &byte, 1);
    [[maybe_unused]] const auto waited = ::read(held[0], &byte, 1);
    leave(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(told[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');

  const std::string proc = "/proc/" + std::to_string(child);
  const auto read_file = [&](const std::string& name) {
    std::string text(8192, '\0');
    const base::UniqueFd file(::open((proc + name).c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t size = ::read(file.get(), text.data(), text.size());
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return text;
  };
  const std::string status = read_file("/status");
  char root[64] = {};
  const ssize_t length = ::readlink((proc + "/root").c_str(), root, sizeof root - 1);
  const int entries = ::open((proc + "/root/etc").c_str(), O_RDONLY | O_CLOEXEC);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (const int fd : {told[0], told[1], held[0], held[1]}) ::close(fd);

  EXPECT_GT(length, 0);
  EXPECT_EQ(entries, -1);
  EXPECT_NE(status.find("Uid:\t54321\t54321\t54321\t54321"), std::string::npos) << status;
  EXPECT_NE(status.find("CapEff:\t0000000000000000"), std::string::npos);
  for (const char* set : {"CapPrm", "CapInh", "CapBnd", "CapAmb"})
    EXPECT_NE(status.find(std::string(set) + ":\t0000000000000000"), std::string::npos) << status;
  EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos);
  EXPECT_NE(status.find("Seccomp:\t2"), std::string::npos);
}

}  // namespace
}  // namespace sandbox
