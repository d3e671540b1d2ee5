#include "vmm/machine/guest_ram.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "vmm/base/unique_fd.h"
#include "vmm/base/units.h"

namespace machine {
namespace {

using namespace base;  // NOLINT: the unit literals

constexpr std::uint64_t kBytes = 4_MiB;

class GuestRamTest : public testing::Test {
 protected:
  GuestRamTest() : ram_(*map_fresh_ram(kBytes)), file_(::memfd_create("memory", MFD_CLOEXEC)) {}

  MappedRegion ram_;
  UniqueFd file_;
};

TEST_F(GuestRamTest, FindsOnlyPagesThatHoldSomething) {
  ram_.data()[4096] = std::byte{1};
  ram_.data()[2_MiB + 4095] = std::byte{1};

  EXPECT_EQ(find_used(ram_.bytes(), 4_KiB), (std::vector<Extent>{{4096, 4096}, {2_MiB, 4096}}));
}

TEST_F(GuestRamTest, JoinsWhatLiesCloserThanTheGap) {
  ram_.data()[0] = std::byte{1};
  ram_.data()[64_KiB] = std::byte{1};
  ram_.data()[1_MiB] = std::byte{1};

  EXPECT_EQ(find_used(ram_.bytes(), 256_KiB),
            (std::vector<Extent>{{0, 64_KiB + 4096}, {1_MiB, 4096}}));
}

TEST_F(GuestRamTest, AClonesReadsAreTheTemplatesAndItsWritesItsOwn) {
  ram_.data()[1_MiB] = std::byte{42};
  const auto extents = find_used(ram_.bytes(), 4_KiB);
  ASSERT_TRUE(write_ram(file_.get(), ram_.bytes(), extents));

  auto first = map_cloned_ram(file_.get(), kBytes, extents);
  auto second = map_cloned_ram(file_.get(), kBytes, extents);
  ASSERT_TRUE(first && second);
  first->data()[1_MiB] = std::byte{7};
  first->data()[0] = std::byte{7};

  EXPECT_EQ(second->data()[1_MiB], std::byte{42});
  EXPECT_EQ(second->data()[0], std::byte{0});
}

TEST_F(GuestRamTest, UntouchedMemoryIsAHoleInTheFile) {
  ram_.data()[1_MiB] = std::byte{42};

  ASSERT_TRUE(write_ram(file_.get(), ram_.bytes(), find_used(ram_.bytes(), 4_KiB)));

  struct stat status {};
  ASSERT_EQ(::fstat(file_.get(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), kBytes);
  EXPECT_EQ(status.st_blocks * 512, 4096);
}

TEST_F(GuestRamTest, RefusesExtentsThatDoNotFit) {
  ASSERT_TRUE(write_ram(file_.get(), ram_.bytes(), {}));
  const std::vector<std::vector<Extent>> wrong = {{{kBytes, 4096}},
                                                  {{kBytes - 4096, 8192}},
                                                  {{1, 4096}},
                                                  {{0, 100}},
                                                  {{0, 0}},
                                                  {{8192, 4096}, {0, 4096}},
                                                  {{0, 8192}, {4096, 4096}},
                                                  {{~std::uint64_t{4095}, 8192}}};

  for (const auto& extents : wrong)
    EXPECT_EQ(map_cloned_ram(file_.get(), kBytes, extents).error().code, Code::kDataLoss);
}

TEST_F(GuestRamTest, RefusesAFileOfAnotherSize) {
  ASSERT_TRUE(write_ram(file_.get(), ram_.bytes(), {}));

  EXPECT_EQ(map_cloned_ram(file_.get(), 2 * kBytes, {}).error().code, Code::kDataLoss);
}

}  // namespace
}  // namespace machine
