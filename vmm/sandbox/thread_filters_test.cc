#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "sandbox_filters.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/sandbox/sandboxed_child.h"

namespace sandbox {
namespace {

using Restrict = base::Result<void> (*)();

class ThreadFiltersTest : public SandboxTest {
 protected:
  ThreadFiltersTest() {
    void* const page =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    came_through_ = static_cast<volatile bool*>(page);
  }
  ~ThreadFiltersTest() override { ::munmap(const_cast<bool*>(came_through_), 4096); }

  /// Restricted as such a thread: whether the filter let `body` through. What comes after that is
  /// the end in any case, as not every thread may exit.
  bool allowed(Restrict restrict, const std::function<void()>& body) {
    *came_through_ = false;
    const int status = run_in_sandbox([&] {
      if (!restrict()) return 1;
      body();
      *came_through_ = true;
      return 0;
    });
    EXPECT_TRUE(killed_by_filter(status) || *came_through_) << status;
    return *came_through_;
  }
  bool forbidden(Restrict restrict, const std::function<void()>& body) {
    return !allowed(restrict, body);
  }

 private:
  volatile bool* came_through_;  // seen by the child, too
};

constexpr Restrict kAll[] = {restrict_device_thread, restrict_saving_device_thread,
                             restrict_disk_thread, restrict_vcpu_thread};

TEST_F(ThreadFiltersTest, ARunningMachineCannotBuildAnother) {
  for (const Restrict restrict : kAll) {
    EXPECT_TRUE(forbidden(restrict, [] { ::ioctl(-1, KVM_CREATE_VM, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::ioctl(-1, KVM_CREATE_VCPU, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::ioctl(-1, KVM_SET_USER_MEMORY_REGION, nullptr); }));
  }
}

TEST_F(ThreadFiltersTest, NoThreadOfARunningMachineStartsAnotherOrChangesItsFilter) {
  for (const Restrict restrict : kAll) {
    EXPECT_TRUE(forbidden(restrict, [] { ::syscall(SYS_clone, CLONE_VM, 0, 0, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::syscall(SYS_clone3, nullptr, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::syscall(SYS_seccomp, 1, 0, nullptr); }));
  }
}

TEST_F(ThreadFiltersTest, MemoryOfARunningMachineIsNewAndWhereTheKernelPutsIt) {
  for (const Restrict restrict : kAll) {
    EXPECT_TRUE(forbidden(restrict, [] { map_anonymous(PROT_READ, MAP_FIXED); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::mmap(nullptr, 1, PROT_READ, MAP_SHARED, 0, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::mremap(nullptr, 1, 1, 0); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::mprotect(nullptr, 4096, PROT_READ); }));
    EXPECT_TRUE(forbidden(restrict, [] { ::madvise(nullptr, 4096, MADV_MERGEABLE); }));
  }
}

TEST_F(ThreadFiltersTest, OnlyTheDeviceThreadGivesMemoryBack) {
  const auto give_back = [] { ::madvise(nullptr, 4096, MADV_DONTNEED); };
  EXPECT_TRUE(forbidden(restrict_disk_thread, give_back));
  EXPECT_TRUE(forbidden(restrict_vcpu_thread, give_back));
}

TEST_F(ThreadFiltersTest, AnAbortIsTheEndToo) {
  for (const Restrict restrict : kAll) EXPECT_TRUE(forbidden(restrict, [] { ::abort(); }));
}

TEST_F(ThreadFiltersTest, AFutexIsForWaitingAndWakingOnly) {
  for (const Restrict restrict : kAll)
    EXPECT_TRUE(forbidden(restrict, [] {
      ::syscall(SYS_futex, nullptr, FUTEX_CMP_REQUEUE_PI, 0, nullptr, nullptr, 0);
    }));
}

TEST_F(ThreadFiltersTest, OnlyTheKickIsASignal) {
  EXPECT_TRUE(forbidden(restrict_device_thread, [] { ::syscall(SYS_tgkill, 1, 1, SIGKILL); }));
  EXPECT_TRUE(forbidden(restrict_vcpu_thread, [] { ::syscall(SYS_tgkill, 1, 1, SIGUSR1); }));
}

TEST_F(ThreadFiltersTest, AStreamIsNotSentToAnAddress) {
  EXPECT_TRUE(
      forbidden(restrict_device_thread, [] { ::sendto(0, "x", 1, MSG_NOSIGNAL, nullptr, 0); }));
  EXPECT_TRUE(forbidden(restrict_device_thread, [] { ::recv(0, nullptr, 0, MSG_OOB); }));
}

// The counterpart of the tests above: each thread's own work is not what kills it.
TEST_F(ThreadFiltersTest, EachThreadDoesItsWork) {
  const auto work_of_all = [] {
    ::munmap(map_anonymous(PROT_READ | PROT_WRITE, MAP_NORESERVE), 4096);
    ::syscall(SYS_futex, nullptr, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
    [[maybe_unused]] const auto written = ::write(-1, "", 0);
  };
  for (const Restrict restrict : kAll) EXPECT_TRUE(allowed(restrict, work_of_all));
  EXPECT_TRUE(allowed(restrict_device_thread, [] {
    ::ioctl(-1, KVM_SIGNAL_MSI, 0);
    ::madvise(nullptr, 4096, MADV_DONTNEED);
    ::sendmsg(-1, nullptr, MSG_NOSIGNAL);
  }));
  EXPECT_TRUE(allowed(restrict_saving_device_thread, [] { ::ioctl(-1, KVM_GET_REGS, nullptr); }));
  EXPECT_TRUE(allowed(restrict_disk_thread, [] { ::fdatasync(-1); }));
  EXPECT_TRUE(allowed(restrict_vcpu_thread, [] { ::ioctl(-1, KVM_RUN, 0); }));
}

TEST_F(ThreadFiltersTest, AVcpuThreadOnlyRuns) {
  EXPECT_TRUE(forbidden(restrict_vcpu_thread, [] { ::syscall(SYS_recvmsg, -1, nullptr, 0); }));
  EXPECT_TRUE(forbidden(restrict_vcpu_thread, [] { ::syscall(SYS_pwritev, -1, nullptr, 0); }));
}

/// The first cells of the rows of a table of system calls: the call, and what comes beside it.
std::vector<std::pair<std::string, std::string>> documented_rows(const std::string& section) {
  std::ifstream file(PROTECTIONS);
  std::vector<std::pair<std::string, std::string>> rows;
  bool begun = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) begun = line == "## " + section;
    std::istringstream cells(line);
    std::string empty, call, beside;
    std::getline(cells, empty, '|');
    std::getline(cells, call, '|');
    std::getline(cells, beside, '|');
    if (!begun || call.size() < 3 || call[0] != ' ' || call == " call ") continue;
    rows.emplace_back(call.substr(1, call.size() - 2), beside);
  }
  return rows;
}

/// What the rows of "System calls of a monitor that runs" say of `thread`.
std::set<std::string> documented_calls(const std::string& thread) {
  std::set<std::string> calls;
  for (const auto& [call, threads] : documented_rows("System calls of a monitor that runs"))
    if (threads.find(thread) != std::string::npos || threads.find("all") != std::string::npos)
      calls.insert(call);
  return calls;
}

TEST(RunningFilter, AllowsWhatTheTableSaysAndNotMoreThanFortyCalls) {
  const std::set<std::string> device(std::begin(kDeviceCalls), std::end(kDeviceCalls));
  const std::set<std::string> disk(std::begin(kDiskCalls), std::end(kDiskCalls));
  const std::set<std::string> vcpu(std::begin(kVcpuCalls), std::end(kVcpuCalls));
  std::set<std::string> all = device;
  all.insert(disk.begin(), disk.end());
  all.insert(vcpu.begin(), vcpu.end());
  std::printf("%zu system calls in a monitor that runs:", all.size());
  for (const std::string& call : all) std::printf(" %s", call.c_str());
  std::printf("\n");

  EXPECT_LE(all.size(), 40u);
  EXPECT_EQ(device, documented_calls("device"));
  EXPECT_EQ(disk, documented_calls("disk"));
  EXPECT_EQ(vcpu, documented_calls("vcpu"));
}

TEST(FileServerFilter, AllowsWhatTheTableSays) {
  std::set<std::string> documented;
  for (const auto& row : documented_rows("System calls of a file server"))
    documented.insert(row.first);

  EXPECT_EQ(std::set<std::string>(std::begin(kFileServerCalls), std::end(kFileServerCalls)),
            documented);
}

/// A file server's thread has no other filter, so the monitor's sandbox is not entered here.
bool kills_file_server(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!restrict_file_server_thread()) leave(kCouldNotEnter);
    body();
    leave(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << status;
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

TEST(FileServerFilter, KillsWhoReachesForMoreThanFiles) {
  EXPECT_TRUE(kills_file_server([] { ::execl("/bin/true", "true", nullptr); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_clone, CLONE_VM, 0, 0, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_clone3, nullptr, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::socket(AF_UNIX, SOCK_STREAM, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::connect(0, nullptr, 0); }));
  EXPECT_TRUE(
      kills_file_server([] { ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_open_tree, 0, nullptr, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_ptrace, 0, 0, 0, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::ioctl(0, TIOCSTI, "x"); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_open_by_handle_at, 0, nullptr, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_setuid, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_capset, nullptr, nullptr); }));
  EXPECT_TRUE(kills_file_server([] { ::syscall(SYS_unshare, CLONE_NEWNS); }));
  EXPECT_TRUE(kills_file_server([] { ::kill(1, 0); }));
  EXPECT_TRUE(kills_file_server([] { map_anonymous(PROT_READ | PROT_EXEC, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::mmap(nullptr, 1, PROT_READ, MAP_SHARED, 0, 0); }));
  EXPECT_TRUE(kills_file_server([] { ::fcntl(0, F_SETOWN, 1); }));
}

TEST(FileServerFilter, LetsItWorkWithFiles) {
  EXPECT_FALSE(kills_file_server([] {
    ::openat(-1, "x", O_PATH);
    ::flock(-1, 0);
    ::fcntl(-1, F_OFD_SETLK, nullptr);
    ::syscall(SYS_setfsuid, -1);
    ::syscall(SYS_renameat2, -1, "", -1, "", 0);
  }));
}

}  // namespace
}  // namespace sandbox
