// Client-chosen mount options, and frames as they arrive on the control stream.
#include <cstdint>
#include <string_view>

#include "guest-init/container/mount_options.h"
#include "guest-init/protocol/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)guest_init::parse_tmpfs_options(text).has_value();
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)wire::decode<protocol::PrepareContainer>(bytes).has_value();
  (void)wire::decode<protocol::StartProcess>(bytes).has_value();
  (void)wire::decode<protocol::HelloReply>(bytes).has_value();
  return 0;
}
