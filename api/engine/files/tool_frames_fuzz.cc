// libFuzzer: what a guest sends in the place of a file tree, a layer, or a list of changes.
#include "api/engine/files/change_decoder.h"
#include "api/engine/files/tar_writer.h"

namespace {

using engine::TarWriter;

void write_tar(const std::vector<wire::RawFrame>& frames, TarWriter::Form form) {
  auto writer = TarWriter::create(form);
  if (!writer) return;
  for (const wire::RawFrame& frame : frames) {
    if (!(*writer)->add(frame)) return;
    (void)(*writer)->take();
  }
}

void read_changes(const std::vector<wire::RawFrame>& frames) {
  engine::ChangeDecoder decoder;
  for (const wire::RawFrame& frame : frames) {
    const auto change = decoder.take(frame);
    if (!change || !*change) return;
    if (!(*change)->path.starts_with('/') || (*change)->path.size() < 2) __builtin_trap();
  }
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
  read_changes(frames);
  return 0;
}
