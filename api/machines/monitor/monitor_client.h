// MonitorClient: the daemon's end of one containervm-vmm's control socket (vmm/launch/messages.h).
//
// Requests are sent at once and in order, never waiting for an answer; each has its own Reply.
// Threads: io_context thread. Ownership: shared, so that its reading coroutine outlives its owner's
// interest; close() ends it. Handlers are called from the reading coroutine, never from inside
// send(). Trust: the monitor's packets may come from a guest that took it over: a packet that
// breaks the protocol is reported as lost with kDataLoss, and nothing is read after it.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "api/async/latch.h"
#include "vmm/base/result.h"
#include "vmm/base/seqpacket.h"
#include "vmm/launch/messages.h"

namespace engine {

class MonitorClient : public std::enable_shared_from_this<MonitorClient> {
 public:
  /// Saved for SaveTemplate; empty for Done; the Error of Failed, or of a lost connection.
  using Answer = base::Result<launch::Saved>;

  struct Handlers {
    std::function<void(launch::Stopped)> stopped;
    std::function<void(base::Error)> lost;  // no more messages come; also after close of the peer
  };

  /// `socket` is a connected SOCK_SEQPACKET socket.
  static std::shared_ptr<MonitorClient> start(net::any_io_executor executor, base::UniqueFd socket,
                                              Handlers handlers);

  /// Sends `message` with a request number of its own. The descriptors are closed once sent.
  template <typename M>
  async::Reply<Answer> send(M message, std::vector<base::UniqueFd> descriptors = {}) {
    async::Reply<Answer> reply(executor_);
    if (closed_) {
      reply.set(base::Error{base::Code::kUnavailable, "the monitor is gone"});
      return reply;
    }
    message.request = next_request_++;
    pending_.emplace(message.request, reply);
    transmit({base::packet_of(message), std::move(descriptors)});
    return reply;
  }

  /// Answers all that is pending with kUnavailable; no handler is called any more. A connection
  /// that is lost does so by itself, with the words of why.
  void close();

 private:
  struct Outgoing {
    wire::Bytes bytes;
    std::vector<base::UniqueFd> descriptors;
  };

  MonitorClient(net::any_io_executor executor, base::UniqueFd socket, Handlers handlers);

  static net::awaitable<void> read(std::shared_ptr<MonitorClient> self);
  static net::awaitable<void> write_queue(std::shared_ptr<MonitorClient> self);
  void transmit(Outgoing packet);
  base::Result<void> try_send(const Outgoing& packet);
  base::Result<void> handle(const base::Packet& packet);
  base::Result<void> answer(std::uint32_t request, Answer answer);
  void lose(base::Error error);
  void end(const std::string& reason);

  net::any_io_executor executor_;
  net::posix::stream_descriptor socket_;
  Handlers handlers_;
  std::uint32_t next_request_ = 1;
  std::map<std::uint32_t, async::Reply<Answer>> pending_;
  std::deque<Outgoing> queue_;
  bool closed_ = false;
};

}  // namespace engine
