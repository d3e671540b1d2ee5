// ImageCommits: how what a container has changed becomes a layer.
#include <atomic>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/write.hpp>
#include <functional>

#include "api/engine/files/byte_bridge.h"
#include "api/engine/files/tar_writer.h"
#include "api/engine/images/image_commits.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using net::local::stream_protocol;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace files = protocol::files;

/// Shared by the coroutine that reads the container and the one that makes the image.
struct ImageCommits::Layer {
  images::CommitOptions options;
  std::stop_token stop;
  std::atomic<bool> whole = false;
  base::UniqueFd bytes;  // the blocking side
  Result<void> read;     // how reading the container ended
  Result<images::LoadedImage> made = Error{Code::kUnavailable, "the commit was interrupted"};
};

namespace {

/// The container's changes as a tar stream, from the frame `first` on.
net::awaitable<Result<void>> send_layer(std::atomic<bool>& whole, ToolFrames& frames,
                                        wire::RawFrame first, stream_protocol::socket& into) {
  auto writer = TarWriter::create(TarWriter::Form::kLayer);
  if (!writer) co_return std::move(writer).error();
  Result<wire::RawFrame> frame = std::move(first);
  for (;;) {
    if (!frame) co_return frame.error();
    if (static_cast<files::FrameType>(frame->type) == files::FrameType::kFailed)
      co_return tool_error(*frame);
    auto added = (*writer)->add(*frame);
    if (!added) co_return added;
    const std::vector<std::byte> bytes = (*writer)->take();
    const auto [error, sent] =
        co_await net::async_write(into, net::buffer(bytes.data(), bytes.size()), async::kTuple);
    // The store has failed, and says why.
    if (error || sent != bytes.size()) co_return Result<void>();
    if ((*writer)->complete()) break;
    frame = co_await frames.next();
  }
  whole = true;
  co_return Result<void>();
}

}  // namespace

net::awaitable<void> ImageCommits::read_container(std::shared_ptr<Layer> layer,
                                                  std::unique_ptr<ToolFrames> frames,
                                                  wire::RawFrame first,
                                                  stream_protocol::socket into,
                                                  ContainerPtr paused) {
  layer->read = co_await send_layer(layer->whole, *frames, std::move(first), into);
  frames.reset();
  into.close();
  if (paused) co_await parts_.containers.pauses().end_commit(paused);
}

net::awaitable<void> ImageCommits::make_image(std::shared_ptr<Layer> layer) {
  const std::function<Result<images::LoadedImage>()> call = [&store = parts_.images, layer] {
    WholeSource source(layer->bytes.get(), layer->whole,
                       "the container's files could not be read to their end", layer->stop);
    auto made = store.commit(source, layer->options);
    layer->bytes.reset();
    return made;
  };
  layer->made = co_await parts_.streams.run(call);
}

ImageCommits::Made ImageCommits::commit_layer(std::unique_ptr<ToolFrames> frames,
                                              images::CommitOptions options, ContainerPtr paused,
                                              std::stop_token stop) {
  const auto layer = std::make_shared<Layer>();
  layer->options = std::move(options);
  layer->stop = stop;
  const std::stop_callback ending(stop, [pipe = frames->pipe()] { pipe->close(); });
  auto bridge = ByteBridge::make(parts_.executor);
  // A thread is kept waiting only from here on, not while a machine starts.
  Result<wire::RawFrame> first = bridge ? wire::RawFrame{} : Result<wire::RawFrame>(bridge.error());
  if (bridge) first = co_await frames->next();
  if (!first) {
    frames.reset();
    if (paused) co_await parts_.containers.pauses().end_commit(paused);
    co_return std::move(first).error();
  }
  layer->bytes = std::move(bridge->blocking_side);
  co_await (read_container(layer, std::move(frames), *std::move(first),
                           std::move(bridge->coroutine_side), paused) &&
            make_image(layer));
  if (!layer->read) co_return layer->read.error();
  co_return std::move(layer->made);
}

ImageCommits::Made ImageCommits::commit_config_only(images::CommitOptions options) {
  options.without_layer = true;
  const std::function<Result<images::LoadedImage>()> call = [&store = parts_.images, options] {
    images::SpanSource nothing({});
    return store.commit(nothing, options);
  };
  co_return co_await parts_.pool.run(call);
}

}  // namespace engine
