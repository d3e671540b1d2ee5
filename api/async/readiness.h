// wait_until_ready: waits for a descriptor, and ends for this descriptor only.
//
// Boost.Asio's own async_wait may end for an event of another file. Asio takes a batch of events
// from epoll and queues each at its descriptor's state. A handler that runs first may close such a
// descriptor and open a new one, which gets the same state, and with it the event of the old one. A
// read or write is then merely tried again; who takes the end of a wait for a fact, such as that a
// process is gone or a client has hung up, has to ask.
//
// Threads: that of the object's executor.
#pragma once

#include <poll.h>

#include "api/async/net.h"

namespace async {

/// Whether poll(2) says `events`, an error or a hang-up of `descriptor` now.
inline bool is_ready(int descriptor, short events) {
  pollfd one{descriptor, events, 0};
  return ::poll(&one, 1, 0) != 0;
}

/// Completes when `object` (a socket or stream_descriptor of Asio's) is readable, writable, or, for
/// wait_error, broken or closed in both directions; or with the error of the wait, such as
/// operation_aborted.
template <typename IoObject>
net::awaitable<boost::system::error_code> wait_until_ready(IoObject& object,
                                                           typename IoObject::wait_type type) {
  const short events = type == IoObject::wait_read    ? POLLIN
                       : type == IoObject::wait_write ? POLLOUT
                                                      : 0;
  for (;;) {
    const auto [error] = co_await object.async_wait(type, kTuple);
    if (error || is_ready(object.native_handle(), events)) co_return error;
  }
}

}  // namespace async
