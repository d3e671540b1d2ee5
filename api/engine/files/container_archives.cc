#include "api/engine/files/container_archives.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <utility>

#include "api/engine/containers/container_files.h"
#include "api/engine/files/byte_bridge.h"
#include "api/engine/files/tar_stream.h"

namespace engine {

using async::BytePipe;
using base::Code;
using base::Error;
using base::Result;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace files = protocol::files;

namespace {

constexpr std::size_t kLongestPath = 4096;  // PATH_MAX

/// Closes a pipe when its reader or writer is abandoned.
struct ClosePipe {
  std::shared_ptr<BytePipe> pipe;
  ~ClosePipe() { pipe->close(); }
};

Error error_of(const FilePlace& place, const wire::RawFrame& frame) {
  const auto failed = wire::decode<files::Failed>(frame.payload);
  if (static_cast<files::FrameType>(frame.type) == files::FrameType::kFailed && failed) {
    if (failed->kind == files::FailureKind::kNotFound)
      return Error{Code::kNotFound,
                   "Could not find the file " + place.path + " in container " + place.named};
    if (failed->kind == files::FailureKind::kNotADirectory)
      return Error{Code::kInvalidArgument, "extraction point is not a directory"};
  }
  return tool_error(frame);
}

std::string base_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path == "/" ? path : path.substr(path.rfind('/') + 1);
}

Result<FileStatus> status_of(const FilePlace& place, const wire::RawFrame& frame) {
  if (static_cast<files::FrameType>(frame.type) != files::FrameType::kStat)
    return error_of(place, frame);
  auto status = wire::decode<files::Stat>(frame.payload);
  if (!status) return std::move(status).error();
  // It is shown whole: a guest that is not ours any more may send megabytes.
  if (status->link_target.size() > kLongestPath)
    return Error{Code::kDataLoss, "the guest names a link's target that is longer than a path"};
  return FileStatus{.name = base_name(place.path),
                    .size = status->size,
                    .mode = status->mode,
                    .modified_ns = status->modified_ns,
                    .link_target = std::move(status->link_target)};
}

}  // namespace

Result<FilePlace> FilePlace::make(ContainerPtr container, std::string path, std::string named) {
  if (path.find('\0') != std::string::npos || path.size() > kLongestPath)
    return Error{Code::kInvalidArgument, "the path contains a NUL or is longer than 4096 bytes"};
  if (!path.starts_with('/')) path.insert(0, "/");
  return FilePlace{
      .container = std::move(container), .path = std::move(path), .named = std::move(named)};
}

net::awaitable<Result<FileStatus>> ContainerArchives::stat(FilePlace place) {
  ToolFrames frames(containers_.files().start_reading(place.container, {"stat", place.path}));
  const auto frame = co_await frames.next();
  if (!frame) co_return frame.error();
  co_return status_of(place, *frame);
}

net::awaitable<Result<ReadFiles>> ContainerArchives::read(FilePlace place) {
  auto archive = std::make_unique<ArchiveReader>(
      containers_.files().start_reading(place.container, {"read", place.path}),
      [this, container = place.container] { containers_.publish(*container, "archive-path"); });
  const auto first = co_await archive->next_frame();
  if (!first) co_return first.error();
  auto status = status_of(place, *first);
  if (!status) co_return std::move(status).error();
  ReadFiles found{.status = *std::move(status), .archive = std::move(archive)};
  co_return found;
}

std::unique_ptr<ArchiveReader> ContainerArchives::read_all(ContainerPtr container) {
  return std::make_unique<ArchiveReader>(
      containers_.files().start_reading(container, {"export"}),
      [this, container] { containers_.publish(*container, "export"); });
}

std::unique_ptr<ChangeReader> ContainerArchives::read_changes(ContainerPtr container) {
  return std::make_unique<ChangeReader>(
      start_reading_changes(containers_.files(), std::move(container), "changes"));
}

Result<void> ContainerArchives::check_writable(const Container& container) const {
  if (!container.settings.mounts.read_only_root) return {};
  return Error{Code::kPermissionDenied, "container rootfs is marked read-only"};
}

/// Converts the archive on a thread of `streams`, where it may have to wait for the guest to take
/// the frames.
net::awaitable<void> ContainerArchives::convert(std::shared_ptr<images::ByteSource> tar,
                                                std::shared_ptr<base::UniqueFd> out,
                                                std::shared_ptr<Result<void>> result) {
  const std::function<Result<void>()> call = [tar, out]() -> Result<void> {
    BridgeSink sink(out->get());
    auto done = tar_to_frames(*tar, sink);
    out->reset();
    return done;
  };
  *result = co_await streams_.run(call);
}

net::awaitable<Result<void>> ContainerArchives::write(WriteFiles request,
                                                      std::shared_ptr<images::ByteSource> tar) {
  const ContainerPtr container = request.into.container;
  if (auto possible = check_writable(*container); !possible) co_return possible;
  const net::any_io_executor executor = co_await net::this_coro::executor;
  auto frames_bridge = ByteBridge::make(executor);
  if (!frames_bridge) co_return std::move(frames_bridge).error();
  const ClosePipe output{std::make_shared<BytePipe>(executor)};
  const ClosePipe input{std::make_shared<BytePipe>(executor)};
  const std::string owner = request.to_user ? container->settings.process.user : "";
  FilesTask task{.command = {"write", request.into.path, request.keeps_kind ? "1" : "0", owner},
                 .changes_files = true,
                 .output = output.pipe,
                 .input = input.pipe};
  containers_.files().start(container, std::move(task));

  const auto out = std::make_shared<base::UniqueFd>(std::move(frames_bridge->blocking_side));
  const auto converted = std::make_shared<Result<void>>();
  co_await (convert(std::move(tar), out, converted) &&
            pump_frames(std::move(frames_bridge->coroutine_side), input.pipe));
  ToolFrames frames(output.pipe);
  const auto answer = co_await frames.next();
  // The files are safe when the run has ended, not before.
  while (answer) {
    const auto more = co_await output.pipe->take();
    if (!more || !*more) break;
  }
  Result<void> result;
  if (!answer) result = answer.error();
  const bool ended =
      answer && static_cast<files::FrameType>(answer->type) == files::FrameType::kEnd;
  if (answer && !ended) result = error_of(request.into, *answer);
  // An archive that cannot be read ends the tool's input too early: then its error is the cause.
  if (!ended && !*converted && converted->error().code == Code::kInvalidArgument)
    result = converted->error();
  if (result) containers_.publish(*container, "extract-to-dir");
  co_return result;
}

}  // namespace engine
