// Any archive for `docker cp`: whatever its bytes, it is refused, or becomes frames as the files
// tool expects them: each file's entry is followed by exactly its bytes, and the end comes last.
#include <cstdlib>

#include "api/engine/files/tar_common.h"
#include "api/engine/files/tar_stream.h"
#include "guest-init/protocol/files.h"
#include "images/store/testing/tar_checksums.h"
#include "vmm/base/wire.h"

namespace {

namespace files = protocol::files;

/// Checks the frames as they come; takes no more than a guest's tool would in a moment, since a few
/// bytes of an archive can stand for gigabytes of zeros.
class CheckingSink final : public images::ByteSink {
 public:
  base::Result<void> write(std::span<const std::byte> bytes) override {
    total_ += bytes.size();
    if (total_ > kMost) return base::Error{base::Code::kUnavailable, "enough"};
    reader_.feed(bytes);
    for (auto frame = reader_.next(); *frame; frame = reader_.next()) check(**frame);
    return {};
  }
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t kMost = 1u << 20;

  void check(const wire::RawFrame& frame) {
    if (ended_) std::abort();
    switch (static_cast<files::FrameType>(frame.type)) {
      case files::FrameType::kEntry: {
        const auto entry = wire::decode<files::Entry>(frame.payload);
        if (!entry || left_ != 0 || !engine::is_usable(entry->path)) std::abort();
        if (entry->kind != files::EntryKind::kFile && entry->size != 0) std::abort();
        left_ = entry->size;
        return;
      }
      case files::FrameType::kData: {
        const auto data = wire::decode<files::Data>(frame.payload);
        if (!data || data->bytes.empty() || data->bytes.size() > left_) std::abort();
        left_ -= data->bytes.size();
        return;
      }
      case files::FrameType::kEnd:
        if (left_ != 0) std::abort();
        ended_ = true;
        return;
      default:
        std::abort();
    }
  }

  wire::FrameReader reader_;
  std::size_t total_ = 0;
  std::uint64_t left_ = 0;
  bool ended_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string archive(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 4 != 0) images::testing::fix_tar_checksums(archive);
  images::SpanSource source(std::as_bytes(std::span(archive)));
  CheckingSink sink;
  const auto done = engine::tar_to_frames(source, sink);
  if (done.has_value() != sink.ended()) std::abort();
  return 0;
}
