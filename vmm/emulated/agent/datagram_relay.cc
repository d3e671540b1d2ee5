#include "vmm/emulated/agent/datagram_relay.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/datagram_reader.h"

namespace emulated {
namespace {

constexpr int kAnswersInARow = 64;

class DatagramRelay {
 public:
  DatagramRelay(base::UniqueFd host, base::UniqueFd target)
      : host_(std::move(host)), target_(std::move(target)), buffer_(kMaxDatagram) {}

  base::Result<void> run() {
    for (;;) {
      // Nothing is queued behind bytes that the host has not taken, so the queue stays short.
      const bool stuck = host_.wants_to_write();
      std::array<pollfd, 2> entries{
          pollfd{host_.fd(), static_cast<short>(POLLIN | (stuck ? POLLOUT : 0)), 0},
          pollfd{stuck ? -1 : target_.get(), POLLIN, 0}};
      if (::poll(entries.data(), entries.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return base::errno_error("poll");
      }
      if (entries[0].revents & (POLLIN | POLLHUP | POLLERR)) {
        const auto more = pass_in();
        if (!more) return more.error();
        if (!*more) return {};
      }
      RETURN_IF_ERROR(host_.flush());
      RETURN_IF_ERROR(return_credit());
      if (entries[1].revents != 0) RETURN_IF_ERROR(pass_out());
    }
  }

 private:
  /// False once the host has closed.
  base::Result<bool> pass_in() {
    const auto more = reader_.fill(host_.fd());
    if (!more || !*more) return more;
    for (;;) {
      const auto frame = reader_.next();
      if (!frame) return frame.error();
      if (!*frame) return true;
      const auto datagram = expect<Datagram>((*frame)->raw);
      if (!datagram) return datagram.error();
      send(datagram->bytes);
      owed_ += (*frame)->size;
    }
  }

  void send(const wire::Bytes& bytes) {
    const auto once = [&] {
      return ::send(target_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    };
    // The socket reports the refusal of an earlier datagram instead of sending this one.
    if (!once() && errno == ECONNREFUSED) once();
  }

  base::Result<void> return_credit() {
    if (owed_ == 0 || host_.wants_to_write()) return {};
    host_.send(DatagramCredit{.bytes = static_cast<std::uint32_t>(std::exchange(owed_, 0))});
    return host_.flush();
  }

  base::Result<void> pass_out() {
    for (int i = 0; i < kAnswersInARow && !host_.wants_to_write(); ++i) {
      const ssize_t n = ::recv(target_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (n < 0) return {};  // nothing there, or the refusal of a datagram: a later one may arrive
      host_.send(Datagram{.bytes = wire::Bytes(buffer_.begin(), buffer_.begin() + n)});
      RETURN_IF_ERROR(host_.flush());
    }
    return {};
  }

  Channel host_;
  DatagramReader reader_;
  base::UniqueFd target_;
  wire::Bytes buffer_;
  std::size_t owed_ = 0;  // bytes of frames that the host has no credit for yet
};

}  // namespace

base::Result<void> relay_datagrams(base::UniqueFd host, base::UniqueFd target) {
  return DatagramRelay(std::move(host), std::move(target)).run();
}

}  // namespace emulated
