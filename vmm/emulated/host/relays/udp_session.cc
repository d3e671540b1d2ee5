#include "vmm/emulated/host/relays/udp_session.h"

namespace emulated {

base::Result<void> UdpSession::flush() {
  if (!open()) return {};
  RETURN_IF_ERROR(channel_->flush());
  // One frame at a time, so that what waits for the socket is never longer than that.
  while (!channel_->wants_to_write()) {
    const auto frame = queue_.next();
    if (!frame) return {};
    channel_->send_frame(*frame);
    RETURN_IF_ERROR(channel_->flush());
  }
  return {};
}

base::Result<void> UdpSession::receive(
    const std::function<void(std::span<const std::byte>)>& answer) {
  const auto more = reader_.fill(channel_->fd());
  if (!more) return more.error();
  if (!*more) return base::Error{base::Code::kUnavailable, "the agent ended a session"};
  for (;;) {
    const auto frame = reader_.next();
    if (!frame) return frame.error();
    if (!*frame) return {};
    RETURN_IF_ERROR(on_frame((*frame)->raw, answer));
  }
}

base::Result<void> UdpSession::on_frame(
    const wire::RawFrame& frame, const std::function<void(std::span<const std::byte>)>& answer) {
  if (frame.type == static_cast<std::uint16_t>(MessageType::kDatagramCredit)) {
    const auto credit = expect<DatagramCredit>(frame);
    if (!credit) return credit.error();
    return queue_.on_credit(credit->bytes);
  }
  const auto datagram = expect<Datagram>(frame);
  if (!datagram) return datagram.error();
  answer(datagram->bytes);
  return {};
}

}  // namespace emulated
