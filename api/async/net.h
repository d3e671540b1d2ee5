// The names everything asynchronous in the daemon shares. Boost.Asio 1.81, compiled once (asio.cc).
//
// Threading: one io_context thread runs every coroutine and owns all state; BlockingPool takes what
// blocks. Coroutines take parameters by value (or references to what outlives them), and none is a
// capturing lambda. gcc 12 miscompiles `co_await` inside the condition of an if in a do-while loop
// and temporaries with captures or members built inside a co_await's arguments (it destroys them
// twice): give the result, or the argument, a name.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace net = boost::asio;

namespace async {

/// `auto [error, ...] = co_await op(..., async::kTuple)`: no exception for an I/O error.
inline constexpr auto kTuple = net::as_tuple(net::use_awaitable);

}  // namespace async

/// RETURN_IF_ERROR_ASYNC(co_await ...): RETURN_IF_ERROR inside a coroutine that returns a Result.
#define RETURN_IF_ERROR_ASYNC(expression)                                \
  do {                                                                   \
    if (auto result_of_expression = (expression); !result_of_expression) \
      co_return std::move(result_of_expression).error();                 \
  } while (false)
