// shielded(): finish what has begun, even when the client that asked for it has gone.
//
// A handler is cancelled when its client disconnects. An operation that changes state (start, stop,
// remove) is awaited shielded: no cancellation reaches it, and the handler ends after it.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <optional>
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

}  // namespace async
