// What is read of a container's files, as it comes: an archive of them, or the list of what
// changed.
//
// Both are pulled: a reader that does not ask for more holds the guest's tool back, and one that is
// destroyed ends it. At most what a BytePipe holds, and one frame, are in memory.
// Threads: the io_context thread. One next() at a time.
// Trust: what comes is the guest's, checked by TarWriter and ChangeDecoder.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/engine/files/change_decoder.h"
#include "api/engine/files/tar_writer.h"
#include "api/engine/files/tool_frames.h"

namespace engine {

class ArchiveReader {
 public:
  /// `frames`: of a run of the tool that sends files. `whole` is called when next() has said that
  /// the archive is whole.
  ArchiveReader(std::shared_ptr<async::BytePipe> frames, std::function<void()> whole)
      : frames_(std::move(frames)), whole_(std::move(whole)) {}

  /// The next frame as it is, for what the tool says before the files.
  net::awaitable<base::Result<wire::RawFrame>> next_frame() { return frames_.next(); }

  /// The next bytes of the tar archive; none when it is whole. An Error ends it.
  net::awaitable<base::Result<std::vector<std::byte>>> next();

 private:
  ToolFrames frames_;
  std::unique_ptr<TarWriter> writer_;  // from the first next() on
  std::function<void()> whole_;
};

class ChangeReader {
 public:
  explicit ChangeReader(std::shared_ptr<async::BytePipe> frames) : frames_(std::move(frames)) {}

  /// The next change; nullopt after the last one.
  net::awaitable<base::Result<std::optional<FileChange>>> next();

 private:
  ToolFrames frames_;
  ChangeDecoder decoder_;
};

}  // namespace engine
