#include "vmm/emulated/host/processor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <set>
#include <string>
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

/// Claims that no emulated machine of this host sees.
std::string own_family() { return "containervm-test-" + std::to_string(::getpid()); }

TEST(ProcessorTest, PutsThoseFirstThatWereIdleLongest) {
  EXPECT_EQ(idlest_first({0, 1, 12}, kBefore, kAfter), (std::vector{1, 12, 0}));
  EXPECT_EQ(idlest_first({0, 12}, kBefore, kAfter), (std::vector{12, 0}));
  EXPECT_EQ(idlest_first({0}, kBefore, kAfter), std::vector{0});
}

TEST(ProcessorTest, KeepsTheOrderWhereNothingTells) {
  EXPECT_EQ(idlest_first({3, 4}, kBefore, kAfter), (std::vector{3, 4}));
  EXPECT_EQ(idlest_first({1, 0}, "", ""), (std::vector{1, 0}));
  EXPECT_EQ(idlest_first({1, 0}, kAfter, kBefore), (std::vector{1, 0}));
  EXPECT_EQ(idlest_first({1, 0}, "cpu0 words\ncpu1 1 2\n", "cpu\ncpux 1 2 3 4\n"),
            (std::vector{1, 0}));
}

TEST(ProcessorTest, ClaimsEachProcessorOnceBeforeAnyTwice) {
  const auto usable = usable_processors();
  ASSERT_TRUE(usable);

  std::vector<ProcessorClaim> claims;
  for (int times = 1; times <= 2; ++times) {
    std::map<int, int> claimed;
    for (std::size_t i = 0; i < usable->size(); ++i) {
      auto claim = ProcessorClaim::take(own_family());
      ASSERT_TRUE(claim) << claim.error().message;
      ++claimed[claim->processor()];
      claims.push_back(std::move(*claim));
    }
    for (const int processor : *usable) EXPECT_EQ(claimed[processor], 1) << processor;
  }
}

TEST(ProcessorTest, ClaimsDifferentOnesForThoseWhoAskAtTheSameMoment) {
  const auto usable = usable_processors();
  ASSERT_TRUE(usable);
  std::vector<std::optional<ProcessorClaim>> claims(usable->size());

  {
    std::vector<std::jthread> threads;
    for (auto& claim : claims)
      threads.emplace_back([&claim] {
        if (auto taken = ProcessorClaim::take(own_family())) claim.emplace(std::move(*taken));
      });
  }

  std::set<int> processors;
  for (const auto& claim : claims)
    if (claim) processors.insert(claim->processor());
  EXPECT_EQ(processors, std::set<int>(usable->begin(), usable->end()));
}

TEST(ProcessorTest, GivesAClaimBackWithItsObject) {
  const auto usable = usable_processors();
  ASSERT_TRUE(usable);
  std::vector<ProcessorClaim> others;
  for (std::size_t i = 1; i < usable->size(); ++i) {
    auto claim = ProcessorClaim::take(own_family());
    ASSERT_TRUE(claim);
    others.push_back(std::move(*claim));
  }

  // The one that is left is the only one with fewer claims than the others.
  std::optional<int> first;
  for (int i = 0; i < 3; ++i) {
    const auto claim = ProcessorClaim::take(own_family());
    ASSERT_TRUE(claim);
    EXPECT_EQ(first.value_or(claim->processor()), claim->processor());
    first = claim->processor();
  }
}

TEST(ProcessorTest, StaysOnAProcessorItMayUse) {
  const auto before = usable_processors();
  ASSERT_TRUE(before);
  ASSERT_FALSE(before->empty());
  const int last = before->back();
  std::vector<int> after;
  std::thread([&] {
    EXPECT_TRUE(stay_on_processor(last));
    if (const auto usable = usable_processors()) after = *usable;
  }).join();
  EXPECT_EQ(after, std::vector<int>{last});
}

TEST(ProcessorTest, CannotStayOnOneThatIsNotThere) { EXPECT_FALSE(stay_on_processor(8191)); }

}  // namespace
}  // namespace emulated
