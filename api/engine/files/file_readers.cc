#include "api/engine/files/file_readers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

net::awaitable<Result<std::vector<std::byte>>> ArchiveReader::next() {
  if (!writer_) {
    auto writer = TarWriter::create();
    if (!writer) co_return std::move(writer).error();
    writer_ = *std::move(writer);
  }
  while (!writer_->complete()) {
    const auto frame = co_await frames_.next();
    if (!frame) co_return frame.error();
    if (static_cast<files::FrameType>(frame->type) == files::FrameType::kFailed)
      co_return Error{Code::kInternal, "the guest could not read all of the container's files"};
    const auto added = writer_->add(*frame);
    if (!added) co_return added.error();
    std::vector<std::byte> bytes = writer_->take();
    if (!bytes.empty()) co_return bytes;
  }
  if (whole_) std::exchange(whole_, nullptr)();
  co_return std::vector<std::byte>();
}

net::awaitable<Result<std::optional<FileChange>>> ChangeReader::next() {
  const auto frame = co_await frames_.next();
  if (!frame) co_return frame.error();
  co_return decoder_.take(*frame);
}

}  // namespace engine
