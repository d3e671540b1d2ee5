// The program as a process: its control connections, its end, and what it is allowed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "vmm/fileserver/testing/served_machine.h"

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

/// TestControl's answer to a failure.
int failed(base::Code code) { return static_cast<int>(code) + 1; }

/// A message that the server does not know.
struct Odd {
  static constexpr protocol::MessageType kType{77};
  static void fields(auto& /*self*/, auto&& /*visit*/) {}
};

class ProcessTest : public ServedTest {};

INSTANTIATE_TEST_SUITE_P(Kinds, ProcessTest, testing::ValuesIn(kinds()), name_of_kind);

TEST_P(ProcessTest, ANewerControlConnectionReplacesTheOlder) {
  TestControl newer(server_->control_path());

  EXPECT_EQ(newer.call(protocol::InterruptLocks{1}), 0);
  EXPECT_TRUE(control().receive().empty());
  EXPECT_EQ(guest().attributes(top_).error, 0);  // the trees stay
}

TEST_P(ProcessTest, RefusesWhatIsNoTree) {
  ASSERT_EQ(::mkfifo(shared("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("x", shared("link"));
  const int invalid = failed(base::Code::kInvalidArgument);

  EXPECT_EQ(add_tree(*server_, 2, shared("fifo")), invalid);
  EXPECT_EQ(add_tree(*server_, 2, shared("link")), invalid);
  EXPECT_EQ(add_tree(*server_, 2, "/dev/null"), invalid);
  EXPECT_EQ(add_tree(*server_, 2, share(), false, static_cast<protocol::Caching>(7)), invalid);
  EXPECT_EQ(control().call(protocol::AddTree{1, 2}), invalid);  // no descriptor
  const base::UniqueFd opened(::open(share().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(control().call(protocol::AddTree{1, 2}, opened.get()), invalid);  // not O_PATH
  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 1, 2}, opened.get()), invalid);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "2").error, ENOENT);
}

TEST_P(ProcessTest, NumbersAreTakenOnce) {
  EXPECT_EQ(add_tree(*server_, 1, share()), failed(base::Code::kAlreadyExists));
  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 1, 2}), 0);
  EXPECT_EQ(add_tree(*server_, 1, share()), 0);
}

TEST_P(ProcessTest, ARangeOfTreesIsTakenAway) {
  for (const std::uint32_t number : {4u, 7u, 9u}) ASSERT_EQ(add_tree(*server_, number, share()), 0);

  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 2, 4}), 0);  // there is none
  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 9, 4}), 0);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "4").error, 0);
  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 4, 9}), 0);

  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "4").error, ENOENT);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "7").error, ENOENT);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "1").error, 0);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "9").error, 0);
}

TEST_P(ProcessTest, TreesAreCounted) {
  for (std::uint32_t number = 2; number <= protocol::kMostTrees; ++number)
    ASSERT_EQ(add_tree(*server_, number, share()), 0);

  EXPECT_EQ(add_tree(*server_, 200, share()), failed(base::Code::kResourceExhausted));
  EXPECT_EQ(add_tree(*server_, 4294967295u, share()), failed(base::Code::kResourceExhausted));
}

TEST_P(ProcessTest, TheHighestNumberIsListed) {
  ASSERT_EQ(add_tree(*server_, 4294967295u, share()), 0);

  EXPECT_EQ(guest().list(FUSE_ROOT_ID, false).size(), 2u);
  EXPECT_NE(root(*server_, 4294967295u), 0u);
}

TEST_P(ProcessTest, APacketThatMakesNoSenseDropsTheConnection) {
  EXPECT_EQ(control().call(Odd{}), -1);

  TestControl again(server_->control_path());
  EXPECT_EQ(again.call(protocol::InterruptLocks{1}), 0);
}

/// The program alone, in its sandbox.
class SandboxedProcessTest : public ServedTest {
 protected:
  std::string proc(const std::string& name) const {
    return "/proc/" + std::to_string(server_->pid()) + "/" + name;
  }
  /// A field of /proc/PID/task/*/status, of each thread.
  std::vector<std::string> of_each_thread(const std::string& field) const {
    std::vector<std::string> values;
    for (const auto& task : std::filesystem::directory_iterator(proc("task"))) {
      std::ifstream status(task.path() / "status");
      for (std::string line; std::getline(status, line);)
        if (line.starts_with(field + ":\t")) values.push_back(line.substr(field.size() + 2));
    }
    return values;
  }
};

std::vector<TestServer::Kind> programs() {
  std::vector<TestServer::Kind> found = kinds();
  std::erase(found, TestServer::Kind::kInProcess);
  return found;
}

INSTANTIATE_TEST_SUITE_P(Kinds, SandboxedProcessTest, testing::ValuesIn(programs()), name_of_kind);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SandboxedProcessTest);

TEST_P(SandboxedProcessTest, EachThreadIsRestricted) {
  for (const auto& [field, wanted] :
       std::vector<std::pair<std::string, std::string>>{{"NoNewPrivs", "1"},
                                                        {"Seccomp", "2"},
                                                        {"Seccomp_filters", "1"},
                                                        {"CapEff", "00000000800000db"},
                                                        {"CapPrm", "00000000800000db"},
                                                        {"CapBnd", "00000000800000db"},
                                                        {"CapInh", "0000000000000000"},
                                                        {"CapAmb", "0000000000000000"},
                                                        {"Groups", " "}}) {
    const std::vector<std::string> values = of_each_thread(field);
    EXPECT_EQ(values.size(), 11u) << field;
    for (const std::string& value : values) EXPECT_EQ(value, wanted) << field;
  }
}

TEST_P(SandboxedProcessTest, HasNamespacesOfItsOwnAndAnEmptyRoot) {
  for (const char* const name : {"user", "mnt", "net", "ipc", "uts", "pid"})
    EXPECT_NE(std::filesystem::read_symlink(proc(std::string("ns/") + name)),
              std::filesystem::read_symlink(std::string("/proc/self/ns/") + name))
        << name;
  EXPECT_TRUE(std::filesystem::is_empty(proc("root")));
  EXPECT_EQ(text_of(proc("uid_map")), text_of("/proc/self/uid_map"));
  EXPECT_NE(text_of(proc("limits")).find("Max core file size        0 "), std::string::npos);
}

TEST_P(SandboxedProcessTest, NothingIsAboveItsDescriptors) {
  ASSERT_EQ(control().call(protocol::RemoveTrees{1, 1, 2}), 0);  // what is left is its own
  int directories = 0;
  for (const auto& fd : std::filesystem::directory_iterator(proc("fd"))) {
    const std::string path = fd.path().string();
    struct stat itself {
    }, above{};
    if (::stat(path.c_str(), &itself) != 0 || !S_ISDIR(itself.st_mode)) continue;
    ++directories;
    ASSERT_EQ(::stat((path + "/..").c_str(), &above), 0);
    EXPECT_EQ(above.st_ino, itself.st_ino) << std::filesystem::read_symlink(path);
  }
  EXPECT_EQ(directories, 2);  // its descriptors, and the copy that libfuse has to have
}

TEST_P(SandboxedProcessTest, EndsWithItsSession) { EXPECT_EQ(server_->finish(), 0); }

TEST_P(SandboxedProcessTest, SaysHowItIsStarted) {
  base::SpawnPlan plan;
  plan.argv = {FILESERVER_PROGRAM};
  plan.descriptors = {-1, -1, -1};
  const auto spawned = base::spawn(plan);
  ASSERT_TRUE(spawned);
  int status = 0;
  ::waitpid(spawned->pid, &status, 0);
  EXPECT_EQ(status, 2 << 8);
}

}  // namespace
}  // namespace fileserver
