// What an attached client gets of a process's output, and when its attachment is over.
//
// Threads: the io_context thread. Each coroutine is the handler's, and ends with it.
#pragma once

#include <functional>
#include <memory>

#include "api/engine/output/output_hub.h"
#include "api/http/exchange.h"

namespace docker {

/// Sends the output as it comes. True when the process has ended and all was sent; false when the
/// client takes no more.
net::awaitable<bool> send_output(http::Exchange& exchange, engine::Attachment& attachment,
                                 bool raw);

/// For a client that sends input, too: completes when the process has ended, and not before. A
/// client that takes no more output, or has closed the connection, is detached at once, so that it
/// does not hold the process back; what it sent before is still on its way to the process, and
/// whoever forwards that knows its end. `hangup`: whether peer_gone() may be asked while somebody
/// reads from the exchange. `run_ended`: completes with the process.
net::awaitable<void> send_output_beside_input(http::Exchange& exchange,
                                              std::unique_ptr<engine::Attachment> attachment,
                                              bool raw, bool hangup,
                                              net::awaitable<void> run_ended);

}  // namespace docker
