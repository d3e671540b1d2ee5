#include "api/async/mutex.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <optional>
#include <string>

namespace async {
namespace {

class MutexTest : public testing::Test {
 protected:
  net::awaitable<void> take(char name) {
    const auto lock = co_await mutex_.lock();
    order_ += name;
    co_await net::post(io_, net::use_awaitable);
  }
  void spawn(char name) { net::co_spawn(io_, take(name), net::detached); }
  void run() {
    io_.restart();
    io_.poll();  // whoever waits for the mutex would keep run() going
  }

  net::io_context io_{1};
  Mutex mutex_{io_.get_executor()};
  std::string order_;
};

TEST_F(MutexTest, IsHeldInTheOrderThatItWasAskedFor) {
  for (const char name : {'a', 'b', 'c', 'd'}) spawn(name);

  run();

  EXPECT_EQ(order_, "abcd");
}

TEST_F(MutexTest, OneThatTakesItAgainAtOnceWaitsForTheOthers) {
  const auto twice = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 3; ++i) co_await take('t');
  };
  net::co_spawn(io_, twice(), net::detached);
  spawn('a');
  spawn('b');

  run();

  EXPECT_EQ(order_, "tabtt");
}

TEST_F(MutexTest, AWaiterThatIsCancelledIsPassedOver) {
  std::optional<Mutex::Lock> held;
  const auto hold = [&]() -> net::awaitable<void> { held.emplace(co_await mutex_.lock()); };
  net::co_spawn(io_, hold(), net::detached);
  net::cancellation_signal signal;
  net::co_spawn(io_, take('x'),
                net::bind_cancellation_slot(signal.slot(), [](const std::exception_ptr&) {}));
  spawn('a');
  run();
  ASSERT_EQ(order_, "");

  signal.emit(net::cancellation_type::all);
  run();
  held.reset();
  run();

  EXPECT_EQ(order_, "a");
}

}  // namespace
}  // namespace async
