#include "api/async/slots.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <vector>

namespace async {
namespace {

class SlotsTest : public testing::Test {
 protected:
  /// Enters, and stays while `stay_` says so of its number.
  net::awaitable<void> visit(std::size_t number) {
    const Slots::Slot slot = co_await slots_.take();
    entered_.push_back(number);
    while (stay_[number]) co_await leave_.wait();
  }

  void start(std::size_t count) {
    stay_.assign(count, true);
    for (std::size_t number = 0; number < count; ++number)
      net::co_spawn(context_, visit(number), net::detached);
    run();
  }

  void end_visit(std::size_t number) {
    stay_[number] = false;
    leave_.notify_all();
    run();
  }

  /// As far as it goes without anything from outside.
  void run() {
    context_.restart();
    context_.poll();
  }

  net::io_context context_;  // first: suspended visits are destroyed with it, after the Slots
  Slots slots_{context_.get_executor(), 2};
  Notifier leave_{context_.get_executor()};
  std::vector<bool> stay_;
  std::vector<std::size_t> entered_;
};

TEST_F(SlotsTest, LetsNoMoreInThanThereAreSlots) {
  start(4);

  EXPECT_EQ(entered_, (std::vector<std::size_t>{0, 1}));
}

TEST_F(SlotsTest, LetsTheNextInWhenAnySlotIsGivenBack) {
  start(4);

  end_visit(1);

  EXPECT_EQ(entered_, (std::vector<std::size_t>{0, 1, 2}));
}

TEST_F(SlotsTest, KeepsTheOrderInWhichTheyCame) {
  start(6);

  for (std::size_t number = 0; number < 6; ++number) end_visit(number);

  EXPECT_EQ(entered_, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
}

}  // namespace
}  // namespace async
