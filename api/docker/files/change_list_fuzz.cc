// libFuzzer: what a guest sends in the place of a list of changes. Whatever it says, the client
// gets JSON.
#include <nlohmann/json.hpp>

#include "api/docker/files/change_list.h"
#include "vmm/base/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  wire::FrameReader reader;
  reader.feed(std::as_bytes(std::span(data, size)));
  engine::ChangeDecoder decoder;
  docker::ChangeList list;
  std::string text;
  for (;;) {
    const auto frame = reader.next();
    if (!frame || !frame->has_value()) return 0;
    const auto change = decoder.take(**frame);
    if (!change) return 0;
    if (!*change) break;
    list.add(**change);
    text += list.take();
  }
  list.finish();
  text += list.take();
  if (!nlohmann::json::accept(text)) __builtin_trap();
  return 0;
}
