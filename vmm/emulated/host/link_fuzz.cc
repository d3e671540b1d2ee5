// What the emulated machine may say to this host: frames, datagrams, QEMU's answer, the console.
#include <algorithm>
#include <cstdint>
#include <string>

#include "vmm/emulated/host/qemu.h"
#include "vmm/emulated/host/relays/datagram_queue.h"
#include "vmm/emulated/host/relays/listed_port.h"
#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/datagram_reader.h"
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

/// The machine's side of an OpenUdp connection; false at what ends the session.
bool take(const DatagramReader::Frame& frame, DatagramQueue& queue) {
  if (frame.size > kMaxDatagramFrame) __builtin_trap();
  if (const auto credit = expect<DatagramCredit>(frame.raw))
    return queue.on_credit(credit->bytes).has_value();
  const auto datagram = expect<Datagram>(frame.raw);
  if (datagram && datagram->bytes.size() > kMaxDatagram) __builtin_trap();
  return datagram.has_value();
}

void run_session(std::span<const std::byte> said) {
  DatagramReader reader;
  DatagramQueue queue;
  bool goes_on = true;
  while (goes_on && !said.empty()) {
    (void)queue.push(said);
    (void)queue.next();
    if (queue.on_the_way() > kWindow) __builtin_trap();
    said = said.subspan(reader.feed(said.first(std::min<std::size_t>(said.size(), 100))));
    for (;;) {
      const auto frame = reader.next();
      goes_on = frame.has_value();
      if (!frame || !*frame) break;
      goes_on = take(**frame, queue);
      if (!goes_on) break;
    }
  }
}

}  // namespace
}  // namespace emulated

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  wire::FrameReader reader;
  reader.feed(std::as_bytes(std::span(data, size)));
  for (auto frame = reader.next(); frame && *frame; frame = reader.next())
    emulated::decode_all(**frame);
  emulated::run_session(std::as_bytes(std::span(data, size)));
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)emulated::find_forwarded_port(text, emulated::kAgentPort).has_value();
  return 0;
}
