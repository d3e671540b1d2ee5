#include "api/machines/templates/kernel_release.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string_view>

namespace engine {
namespace {

using namespace std::string_view_literals;

class KernelReleaseTest : public testing::Test {
 protected:
  KernelReleaseTest() : path_(testing::TempDir() + "kernel-" + std::to_string(::getpid())) {}
  ~KernelReleaseTest() override { std::filesystem::remove(path_); }

  void write(std::string_view contents) { std::ofstream(path_, std::ios::binary) << contents; }

  const std::filesystem::path path_;
};

TEST_F(KernelReleaseTest, FindsItAmongOtherBytes) {
  write(
      "\x7f"
      "ELF\0\0Linux version 6.12.117-containervm (builder) #1 SMP\n\0"sv);

  const auto release = kernel_release(path_);

  ASSERT_TRUE(release) << release.error().message;
  EXPECT_EQ(*release, "6.12.117-containervm");
}

TEST_F(KernelReleaseTest, PassesOverAFormatString) {
  write("Linux version %s (%s)\nLinux version 6.1 (x)");

  EXPECT_EQ(*kernel_release(path_), "6.1");
}

TEST_F(KernelReleaseTest, SaysThatAFileIsNoKernel) {
  write("nothing of the kind");

  EXPECT_EQ(kernel_release(path_).error().code, base::Code::kNotFound);
}

TEST_F(KernelReleaseTest, SaysThatAFileIsMissing) {
  EXPECT_EQ(kernel_release(path_).error().code, base::Code::kNotFound);
}

}  // namespace
}  // namespace engine
