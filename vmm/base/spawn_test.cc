#include "vmm/base/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

namespace base {
namespace {

/// What `sh -c script` writes to its standard output.
std::string output_of(const std::string& script, int oom_score_adj) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const auto child = spawn({.argv = {"/bin/sh", "-c", script},
                            .descriptors = {-1, out.get(), -1},
                            .oom_score_adj = oom_score_adj});
  EXPECT_TRUE(child) << child.error().message;
  out.reset();
  std::string text(4096, '\0');
  const ssize_t size = ::read(in.get(), text.data(), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  if (child) ::waitpid(child->pid, nullptr, 0);
  return text;
}

TEST(Spawn, AChildDiesOfWantOfMemoryInItsOwnOrder) {
  EXPECT_EQ(output_of("cat /proc/self/oom_score_adj", 321), "321\n");
}

TEST(Spawn, AChildHasNoDescriptorsButThoseItIsGiven) {
  const UniqueFd other(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC, on purpose
  const std::string path = "/proc/$$/fd/" + std::to_string(other.get());

  EXPECT_EQ(output_of("[ -e /proc/$$/fd/1 ] && [ ! -e " + path + " ] && echo so", 0), "so\n");
}

TEST(Spawn, AProgramThatIsNotThereIsAnError) {
  EXPECT_FALSE(spawn({.argv = {"/no/such/program"}, .descriptors = {-1, -1, -1}}));
}

}  // namespace
}  // namespace base
