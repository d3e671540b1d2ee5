#include "api/async/latch.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <string>

namespace async {
namespace {

/// Runs a coroutine to its end, with a cancellation when nothing is left to do.
class Waiting {
 public:
  template <typename T>
  void start(net::awaitable<T> waiting) {
    net::co_spawn(io_, std::move(waiting),
                  net::bind_cancellation_slot(
                      cancel_.slot(), [this](std::exception_ptr error, T) { end_ = error; }));
    io_.poll();
    io_.restart();
  }

  void cancel() {
    cancel_.emit(net::cancellation_type::terminal);
    io_.poll();
    io_.restart();
  }

  void go_on() {
    io_.poll();
    io_.restart();
  }

  bool was_aborted() const {
    if (!end_ || !*end_) return false;
    try {
      std::rethrow_exception(*end_);
    } catch (const boost::system::system_error& error) {
      return error.code() == net::error::operation_aborted;
    } catch (...) {
      return false;
    }
  }
  bool has_returned() const { return end_ && !*end_; }
  net::any_io_executor executor() { return io_.get_executor(); }

 private:
  net::io_context io_{1};
  net::cancellation_signal cancel_;
  std::optional<std::exception_ptr> end_;
};

net::awaitable<bool> done(Latch latch) {
  co_await latch.wait();
  co_return true;
}

TEST(LatchTest, WakesWhoeverWaits) {
  Waiting waiting;
  Latch latch(waiting.executor());
  waiting.start(done(latch));
  EXPECT_FALSE(waiting.has_returned());

  latch.set();
  waiting.go_on();

  EXPECT_TRUE(waiting.has_returned());
}

TEST(LatchTest, ACancelledWaitDoesNotLookSet) {
  Waiting waiting;
  waiting.start(done(Latch(waiting.executor())));

  waiting.cancel();

  EXPECT_TRUE(waiting.was_aborted());
}

TEST(ReplyTest, ACancelledWaitHasNoValue) {
  Waiting waiting;
  const Reply<std::string> reply(waiting.executor());
  waiting.start(reply.wait());

  waiting.cancel();

  EXPECT_TRUE(waiting.was_aborted());
}

TEST(ReplyTest, ACancelledWaitForAWhileLooksLikeATimeout) {
  Waiting waiting;
  const Reply<std::string> reply(waiting.executor());
  waiting.start(reply.wait_for(std::chrono::hours(1)));

  waiting.cancel();

  EXPECT_TRUE(waiting.has_returned());
}

TEST(ReplyTest, OnlyTheFirstValueCounts) {
  Waiting waiting;
  Reply<std::string> reply(waiting.executor());
  reply.set("one");
  reply.set("two");

  std::string value;
  net::io_context io;
  net::co_spawn(io, reply.wait(), [&](std::exception_ptr, std::string got) { value = got; });
  io.run();

  EXPECT_EQ(value, "one");
}

}  // namespace
}  // namespace async
