#include "api/async/stand_back.h"

#include <gtest/gtest.h>

namespace async {
namespace {

using namespace std::chrono_literals;

TEST(StandBack, RestsInProportionToItsWaiting) {
  EXPECT_EQ(StandBack::rest_after(50ms, 20ms), 90ms);
  EXPECT_EQ(StandBack::rest_after(30ms, 30ms), 0ms);
  EXPECT_EQ(StandBack::rest_after(30ms, 31ms), 0ms);  // the two clocks are not one
  EXPECT_EQ(StandBack::rest_after(10s, 20ms), StandBack::kLongestRest);
}

TEST(StandBack, GivesWhatTheCallGives) {
  EXPECT_EQ(StandBack::run([] { return 7; }), 7);
  int calls = 0;
  StandBack::run([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace async
