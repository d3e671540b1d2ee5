// libFuzzer: what a guest sends in the place of a file tree, a layer, or a list of changes.
#include <nlohmann/json.hpp>

#include "api/docker/files/change_list.h"
#include "api/docker/files/tar_writer.h"

namespace {

using docker::TarWriter;

void write_tar(const std::vector<wire::RawFrame>& frames, TarWriter::Form form) {
  auto writer = TarWriter::create(form);
  if (!writer) return;
  for (const wire::RawFrame& frame : frames) {
    if (!(*writer)->add(frame)) return;
    (void)(*writer)->take();
  }
}

void write_changes(const std::vector<wire::RawFrame>& frames) {
  docker::ChangeList list;
  std::string text;
  for (const wire::RawFrame& frame : frames) {
    if (!list.add(frame)) return;
    text += list.take();
  }
  // Whatever the guest says, the client gets JSON.
  if (list.complete() && !nlohmann::json::accept(text)) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  wire::FrameReader reader;
  reader.feed(std::as_bytes(std::span(data, size)));
  std::vector<wire::RawFrame> frames;
  for (;;) {
    auto frame = reader.next();
    if (!frame || !frame->has_value()) break;
    frames.push_back(**std::move(frame));
  }
  write_tar(frames, TarWriter::Form::kFiles);
  write_tar(frames, TarWriter::Form::kLayer);
  write_changes(frames);
  return 0;
}
