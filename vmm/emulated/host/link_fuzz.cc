// What the emulated machine may say to this host: frames, QEMU's answer, the console.
#include <cstdint>
#include <string>

#include "vmm/emulated/host/port_relays.h"
#include "vmm/emulated/host/qemu.h"
#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {
namespace {

void decode_all(const wire::RawFrame& frame) {
  (void)expect<Refused>(frame).has_value();
  (void)expect<Data>(frame).has_value();
  (void)expect<Close>(frame).has_value();
  (void)expect<Credit>(frame).has_value();
  (void)expect<Exited>(frame).has_value();
  (void)expect<StartExec>(frame).has_value();
  if (const auto text = expect<FileText>(frame))
    if (parse_ports(text->text).size() > kMaxListed) __builtin_trap();
}

}  // namespace
}  // namespace emulated

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  wire::FrameReader reader;
  reader.feed(std::as_bytes(std::span(data, size)));
  for (auto frame = reader.next(); frame && *frame; frame = reader.next())
    emulated::decode_all(**frame);
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)emulated::find_forwarded_port(text, emulated::kAgentPort).has_value();
  return 0;
}
