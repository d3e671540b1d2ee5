#include "api/async/work_share.h"

#include <gtest/gtest.h>

namespace async::testing {
namespace {

using std::chrono::milliseconds;

TEST(WorkShareTest, WorkStopsWhenItsShareIsSpentAndGoesOnWithTime) {
  WorkShare share(0.25, milliseconds(10));
  const WorkShare::Clock::time_point begin{std::chrono::hours(1)};
  ASSERT_TRUE(share.allows(begin));
  share.spend(milliseconds(14));

  EXPECT_FALSE(share.allows(begin));
  EXPECT_FALSE(share.allows(begin + milliseconds(12)));
  EXPECT_TRUE(share.allows(begin + milliseconds(20)));
}

TEST(WorkShareTest, TimeWithoutWorkIsKeptUpToTheBurst) {
  WorkShare share(0.25, milliseconds(10));
  const WorkShare::Clock::time_point begin{std::chrono::hours(1)};
  ASSERT_TRUE(share.allows(begin));
  ASSERT_TRUE(share.allows(begin + std::chrono::hours(1)));
  share.spend(milliseconds(10));

  EXPECT_FALSE(share.allows(begin + std::chrono::hours(1)));
}

}  // namespace
}  // namespace async::testing
