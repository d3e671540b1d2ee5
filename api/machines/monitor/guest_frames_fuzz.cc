// libFuzzer: bytes of a hostile guest on its control stream, and of its monitor on the control
// socket, decoded as the daemon does it.
#include "guest-init/protocol/messages.h"
#include "vmm/base/seqpacket.h"
#include "vmm/launch/messages.h"

namespace {

template <typename... M>
void decode_as_each(std::span<const std::byte> payload) {
  (static_cast<void>(wire::decode<M>(payload)), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  wire::FrameReader frames;
  frames.feed(bytes);
  for (auto frame = frames.next(); frame && frame->has_value(); frame = frames.next())
    decode_as_each<protocol::HelloReply, protocol::Done, protocol::Failure,
                   protocol::ProcessStarted, protocol::ProcessExited>((*frame)->payload);
  if (const auto packet = base::open_packet(bytes))
    decode_as_each<launch::Status, launch::Done, launch::Failed, launch::Saved, launch::Stopped>(
        packet->payload);
  return 0;
}
