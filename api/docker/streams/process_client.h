// ProcessClient: one client that is attached to a process, be it a container's main process or an
// exec. It says what the client gets of the output, what becomes of its input, and when it
// detaches.
//
// Threads: the io_context thread. The coroutine is the handler's, and ends with it. Trust: the
// client's bytes go to the process as they are; it reads and sends as slowly as it likes.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "api/docker/detach_keys.h"
#include "api/engine/output/output_hub.h"
#include "api/engine/process/process.h"
#include "api/http/exchange.h"

namespace docker {

/// What the end of a client's input means, however it came.
enum class InputEnd {
  kNothing,      // the client stays for the output
  kDetaches,     // the attachment is over
  kClosesStdin,  // it is the process's, too; the client stays for the output
};

struct ProcessClient {
  engine::ProcessPtr process;
  std::unique_ptr<engine::Attachment> output;
  bool raw = false;  // without frames
  /// Whether peer_gone() may be asked while somebody reads from the exchange: not of a websocket.
  bool hangup = true;

  struct Input {
    DetachKeys detach_keys;  // looked for if the process has a terminal
    InputEnd at_end = InputEnd::kNothing;
    std::function<void()> detached;  // told that the keys came; or empty
  };
  std::optional<Input> input;  // absent: what the client sends is not for the process
};

/// Completes when the attachment is over: the process has ended and all of its output was sent, or
/// the client detached or has gone. The process may not have begun yet; what the client sends waits
/// for that. A client that sends input and takes no more output, or has closed the connection, is
/// detached from the output at once, so that it does not hold the process back; what it sent before
/// is still on its way to the process.
net::awaitable<void> serve_process(http::Exchange& exchange, ProcessClient client);

}  // namespace docker
