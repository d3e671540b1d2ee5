// shielded(): finish what has begun, even when the client that asked for it has gone.
//
// A handler is cancelled when its client disconnects. An operation that changes state (start, stop,
// remove) is awaited shielded: no cancellation reaches it, and the handler ends after it. One that
// should then come to its end soon, but in order (a commit, which has a container to unpause), is
// given a stop_source that the cancellation requests.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "api/async/net.h"

namespace async {

namespace detail {
template <typename T>
net::awaitable<void> store(net::awaitable<T> operation, std::shared_ptr<std::optional<T>> result) {
  result->emplace(co_await std::move(operation));
}
}  // namespace detail

template <typename T>
net::awaitable<T> shielded(net::awaitable<T> operation) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  auto token = net::bind_cancellation_slot(net::cancellation_slot(), net::use_awaitable);
  if constexpr (std::is_void_v<T>) {
    co_await net::co_spawn(executor, std::move(operation), std::move(token));
  } else {
    // Asio wants to default-construct what a coroutine returns, which a Result cannot be.
    const auto result = std::make_shared<std::optional<T>>();
    co_await net::co_spawn(executor, detail::store(std::move(operation), result), std::move(token));
    co_return std::move(**result);
  }
}

/// The cancellation of this coroutine requests `stop`, until the next operation that is awaited
/// without a cancellation slot of its own has completed. A coroutine that nobody can cancel is left
/// as it is.
inline net::awaitable<void> stop_when_cancelled(std::stop_source stop) {
  net::cancellation_state state = co_await net::this_coro::cancellation_state;
  if (!state.slot().is_connected()) co_return;
  state.slot().assign([stop](net::cancellation_type) mutable { stop.request_stop(); });
}

template <typename T>
net::awaitable<T> shielded(net::awaitable<T> operation, std::stop_source stop) {
  co_await stop_when_cancelled(std::move(stop));
  co_return co_await shielded(std::move(operation));
}

}  // namespace async
