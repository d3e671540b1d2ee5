// shielded(): finish what has begun, even when the client that asked for it has gone.
//
// A handler is cancelled when its client disconnects. An operation that changes state (start, stop,
// remove) is awaited shielded: no cancellation reaches it, and the handler ends after it.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "api/async/net.h"

namespace async {

template <typename T>
net::awaitable<T> shielded(net::awaitable<T> operation) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  co_return co_await net::co_spawn(
      executor, std::move(operation),
      net::bind_cancellation_slot(net::cancellation_slot(), net::use_awaitable));
}

}  // namespace async
