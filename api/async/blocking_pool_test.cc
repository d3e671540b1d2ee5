#include "api/async/blocking_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

namespace async {
namespace {

class BlockingPoolTest : public testing::Test {
 protected:
  /// A call that blocks until open_gate().
  net::awaitable<void> wait_at_gate(BlockingPool& pool) {
    const std::function<int()> call = [this] {
      std::unique_lock lock(mutex_);
      threads_.insert(std::this_thread::get_id());
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      return 1;
    };
    done_ += co_await pool.run(call);
  }

  void start(BlockingPool& pool, int calls) {
    for (int i = 0; i < calls; ++i) net::co_spawn(context_, wait_at_gate(pool), net::detached);
    context_.restart();
    context_.poll();
  }

  void await_waiting(int calls) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= calls; });
  }

  void open_gate() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

  void run_until_done(int calls) {
    context_.restart();
    while (done_ < calls) context_.run_one();
  }

  net::io_context context_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
  std::set<std::thread::id> threads_;
  int done_ = 0;
};

TEST_F(BlockingPoolTest, RunsAsManyCallsAtOnceAsItHasThreads) {
  for (const int threads : {1, 2, 3, 7}) {
    BlockingPool pool(static_cast<std::size_t>(threads));
    open_ = false;
    waiting_ = done_ = 0;
    threads_.clear();

    start(pool, threads + 3);
    await_waiting(threads);
    open_gate();
    run_until_done(threads + 3);

    EXPECT_EQ(threads_.size(), static_cast<std::size_t>(threads));
  }
}

TEST_F(BlockingPoolTest, UsesItsThreadsAgain) {
  BlockingPool pool(4);
  open_ = true;

  for (int round = 1; round <= 50; ++round) {
    start(pool, 4);
    run_until_done(4 * round);
  }

  EXPECT_LE(threads_.size(), 4u);
}

TEST_F(BlockingPoolTest, TellsACallToStopWhenNobodyWaitsForIt) {
  BlockingPool pool(1);
  net::cancellation_signal gone;
  bool ended = false;
  const std::function<int(std::stop_token)> call = [this](std::stop_token stop) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    std::condition_variable_any stopped;
    stopped.wait(lock, stop, [] { return false; });
    return 1;
  };
  const auto task = [&]() -> net::awaitable<void> { co_await pool.run_stoppable(call); };
  net::co_spawn(
      context_, task(),
      net::bind_cancellation_slot(gone.slot(), [&](const std::exception_ptr&) { ended = true; }));
  context_.poll();
  await_waiting(1);

  gone.emit(net::cancellation_type::terminal);

  while (!ended) context_.run_one();
}

TEST_F(BlockingPoolTest, WaitsAtItsEndForWhatRuns) {
  std::atomic<bool> ended = false;
  const std::function<int()> call = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ended = true;
    return 1;
  };
  const auto task = [&](BlockingPool& pool) -> net::awaitable<void> {
    done_ += co_await pool.run(call);
  };
  {
    BlockingPool pool(3);
    net::co_spawn(context_, task(pool), net::detached);
    context_.restart();
    context_.poll();
  }

  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace async
