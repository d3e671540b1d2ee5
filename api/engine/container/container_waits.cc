#include "api/engine/container/container_waits.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

namespace engine {

using Clock = std::chrono::steady_clock;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

net::awaitable<WaitResult> wait(ContainerPtr container, WaitCondition condition,
                                std::uint64_t exits) {
  const auto holds = [&] {
    switch (condition) {
      case WaitCondition::kNotRunning:
        return container->removal.done || container->run.exits > exits ||
               !(container->state.running() || container->state.status == Status::kRestarting);
      case WaitCondition::kNextExit:
        return container->removal.done || container->run.exits > exits;
      case WaitCondition::kRemoved:
        return container->removal.done;
    }
    return true;
  };
  while (!holds()) co_await container->changed.wait();
  co_return WaitResult{.exit_code = container->state.exit_code, .error = {}};
}

net::awaitable<void> wait_for_change(ContainerPtr container, Clock::time_point due) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  net::steady_timer timer(executor, due);
  co_await (timer.async_wait(async::kTuple) || container->changed.wait());
}

net::awaitable<bool> wait_for_exit(ContainerPtr container, std::uint64_t exits,
                                   std::chrono::milliseconds timeout) {
  const auto due = Clock::now() + timeout;
  while (container->run.exits == exits) {
    if (timeout.count() < 0) {
      co_await container->changed.wait();
      continue;
    }
    if (Clock::now() >= due) co_return false;
    co_await wait_for_change(container, due);
  }
  co_return true;
}

net::awaitable<bool> wait_for_teardown(ContainerPtr container, std::chrono::milliseconds timeout) {
  const auto due = Clock::now() + timeout;
  while (container->run.machine && Clock::now() < due) co_await wait_for_change(container, due);
  co_return !container->run.machine;
}

}  // namespace engine
