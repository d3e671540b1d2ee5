#include "vmm/emulated/processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace emulated {
namespace {

// user nice system idle iowait irq softirq steal guest guest_nice
constexpr std::string_view kBefore =
    "cpu  300 0 300 900 0 0 0 0 0 0\n"
    "cpu0 100 0 100 500 0 0 0 0 0 0\n"
    "cpu1 100 0 100 100 0 0 0 0 0 0\n"
    "cpu12 100 0 100 300 0 0 0 0 0 0\n"
    "intr 1 2 3\n";
constexpr std::string_view kAfter =
    "cpu  302 0 303 919 0 0 0 0 0 0\n"
    "cpu0 101 0 103 503 0 0 0 0 0 0\n"
    "cpu1 101 0 100 109 0 0 0 0 0 0\n"
    "cpu12 100 0 100 307 0 0 0 0 0 0\n"
    "intr 4 5 6\n";

TEST(ProcessorTest, TakesTheOneThatWasIdleLongest) {
  EXPECT_EQ(idlest_processor({0, 1, 12}, kBefore, kAfter), 1);
  EXPECT_EQ(idlest_processor({0, 12}, kBefore, kAfter), 12);
  EXPECT_EQ(idlest_processor({0}, kBefore, kAfter), 0);
}

TEST(ProcessorTest, TakesTheFirstWhereNothingTells) {
  EXPECT_EQ(idlest_processor({3, 4}, kBefore, kAfter), 3);
  EXPECT_EQ(idlest_processor({1, 0}, "", ""), 1);
  EXPECT_EQ(idlest_processor({1, 0}, kAfter, kBefore), 1);
  EXPECT_EQ(idlest_processor({1, 0}, "cpu0 words\ncpu1 1 2\n", "cpu\ncpux 1 2 3 4\n"), 1);
}

TEST(ProcessorTest, StaysOnAProcessorItMayUse) {
  const auto before = usable_processors();
  ASSERT_TRUE(before);
  ASSERT_FALSE(before->empty());
  const auto idlest = find_idlest_processor();
  ASSERT_TRUE(idlest);
  EXPECT_NE(std::find(before->begin(), before->end(), *idlest), before->end());
  std::vector<int> after;
  std::thread([&] {
    EXPECT_TRUE(stay_on_processor(*idlest));
    if (const auto usable = usable_processors()) after = *usable;
  }).join();
  EXPECT_EQ(after, std::vector<int>{*idlest});
}

TEST(ProcessorTest, CannotStayOnOneThatIsNotThere) { EXPECT_FALSE(stay_on_processor(8191)); }

}  // namespace
}  // namespace emulated
