#include "vmm/machine/pending_output.h"

#include <gtest/gtest.h>

namespace machine {
namespace {

TEST(PendingOutputTest, WantsToBeTakenOnceForAllThatWaits) {
  PendingOutput output;

  EXPECT_TRUE(output.add("one\n"));
  EXPECT_FALSE(output.add("two\n"));

  EXPECT_EQ(output.take(), "one\ntwo\n");
  EXPECT_TRUE(output.add("three\n"));
}

TEST(PendingOutputTest, KeepsTheLastBytesOfAGuestThatNobodyListensTo) {
  PendingOutput output;

  for (int i = 0; i < 100'000; ++i) (void)output.add("\n");
  (void)output.add("the end");
  const std::string kept = output.take();

  EXPECT_EQ(kept.size(), PendingOutput::kMostBytes);
  EXPECT_TRUE(kept.ends_with("\n\nthe end"));
}

}  // namespace
}  // namespace machine
