// GuestSession: the daemon's end of the control stream to one guest-init (guest-init/protocol).
//
// request() only queues; flush() hands all that is queued to the socket in one write, so that the
// whole start of a container is one packet to the guest. Answers come in any order.
// Threads: io_context thread. Ownership: shared, as MonitorClient. Handlers are called from the
// reading coroutine, never from inside request() or flush().
// Trust: all that arrives was chosen by the guest. A frame that breaks the protocol ends the
// session with kDataLoss. Memory: one frame (4 MiB) at most towards us, kMaxQueued towards the
// guest.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <functional>
#include <map>
#include <memory>
#include <variant>

#include "api/async/latch.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

using StreamSocket = net::local::stream_protocol::socket;

class GuestSession : public std::enable_shared_from_this<GuestSession> {
 public:
  using Success = std::variant<protocol::Done, protocol::ProcessStarted, protocol::Failure,
                               protocol::Statistics, protocol::ProcessList>;
  /// What the guest answered; Error: it never did.
  using Answer = base::Result<Success>;

  /// nullopt: it was carried out.
  static std::optional<protocol::Failure> refusal_in(const Success& answer) {
    const auto* failure = std::get_if<protocol::Failure>(&answer);
    return failure != nullptr ? std::optional(*failure) : std::nullopt;
  }

  struct Handlers {
    std::function<void(protocol::ProcessExited)> exited;
    std::function<void(protocol::NameQuery)> asked;
    std::function<void(protocol::SocketConnected)> connected;
    std::function<void(base::Error)> lost;
  };

  static constexpr std::size_t kMaxQueued = 8u << 20;

  static std::shared_ptr<GuestSession> start(net::any_io_executor executor, StreamSocket socket,
                                             Handlers handlers);

  /// `secret`: the machine's, once it has one.
  async::Reply<base::Result<protocol::HelloReply>> hello(const protocol::Secret& secret = {});

  template <typename M>
  async::Reply<Answer> request(M message) {
    async::Reply<Answer> reply(executor_);
    message.request = next_request_++;
    if (auto queued = queue(wire::frame(message)); !queued) {
      reply.set(std::move(queued).error());
    } else {
      pending_.emplace(message.request, reply);
    }
    return reply;
  }

  /// A message that is not answered. It is dropped if the guest does not read what it is sent.
  template <typename M>
  void tell(const M& message) {
    (void)queue(wire::frame(message)).has_value();
  }

  void flush();

  /// Answers all that is pending with kUnavailable; no handler is called any more.
  void close();

 private:
  GuestSession(net::any_io_executor executor, StreamSocket socket, Handlers handlers);

  static net::awaitable<void> read(std::shared_ptr<GuestSession> self);
  static net::awaitable<void> write(std::shared_ptr<GuestSession> self);
  base::Result<void> queue(wire::Bytes frame);
  base::Result<void> take_frames();
  base::Result<void> handle(const wire::RawFrame& frame);
  template <typename M>
  base::Result<void> answer_with(const wire::RawFrame& frame);
  void lose(base::Error error);

  net::any_io_executor executor_;
  StreamSocket socket_;
  Handlers handlers_;
  wire::FrameReader frames_;
  std::uint32_t next_request_ = 1;
  std::map<std::uint32_t, async::Reply<Answer>> pending_;
  std::optional<async::Reply<base::Result<protocol::HelloReply>>> hello_;
  wire::Bytes queued_;
  bool writing_ = false;
  bool closed_ = false;
};

}  // namespace engine
