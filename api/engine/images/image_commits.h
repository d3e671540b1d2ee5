// ImageCommits: makes images of what containers have changed, for commit and for builds.
//
// The files tool of the container's guest sends what has changed; its frames become a tar stream
// (../files/tar_writer.h) on the io_context thread, and the image store reads that on a thread of
// `streams` through a bridge. Nothing is kept of one that fails.
// Threads: the io_context thread. What it is given outlives it; it outlives the calls.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/engine/containers/containers.h"
#include "api/engine/files/tool_frames.h"
#include "api/engine/state/events.h"
#include "images/store/store.h"

namespace engine {

/// A commit as a client asks for it.
struct CommitRequest {
  ContainerPtr container;
  std::string name;                  // of the image, with its tag; "" for none
  nlohmann::json config;             // see commit_config(); null for the container's own
  std::vector<std::string> changes;  // Dockerfile instructions
  std::string author;
  std::string comment;
  bool pause = true;  // while the container's files are read
};

/// A commit whose request was checked.
struct CommitPlan {
  ContainerPtr container;
  images::CommitOptions options;
  bool pause = true;
};

/// kConflict for a container that is going, kInvalidArgument for a wrong configuration or change.
base::Result<CommitPlan> plan_commit(CommitRequest request);

class ImageCommits {
 public:
  struct Parts {
    net::any_io_executor executor;
    Containers& containers;
    Events& events;
    images::Store& images;
    async::BlockingPool& pool;
    async::BlockingPool& streams;  // waits for guests
  };
  using Made = net::awaitable<base::Result<images::LoadedImage>>;

  explicit ImageCommits(Parts parts) : parts_(std::move(parts)) {}

  /// Makes an image of what a container has changed, and tells listeners of it. Await it shielded,
  /// as it may have paused the container. `stop`, requested on the io_context thread, ends it soon
  /// and in order.
  Made commit(CommitPlan plan, std::stop_token stop);

  /// Makes an image of a layer that a run of the files tool sends. Await it shielded. `paused`: a
  /// container that Pauses::begin_commit() paused, and that goes on as soon as its files are read;
  /// null for none. `stop`: as in commit(); it ends the files tool and the layer converter, too.
  Made commit_layer(std::unique_ptr<ToolFrames> frames, images::CommitOptions options,
                    ContainerPtr paused, std::stop_token stop);

  /// Makes an image that differs from its parent in its configuration only.
  Made commit_config_only(images::CommitOptions options);

 private:
  struct Layer;

  net::awaitable<bool> begin_pause(CommitPlan plan);
  net::awaitable<void> read_container(std::shared_ptr<Layer> layer,
                                      std::unique_ptr<ToolFrames> frames, wire::RawFrame first,
                                      net::local::stream_protocol::socket into,
                                      ContainerPtr paused);
  net::awaitable<void> make_image(std::shared_ptr<Layer> layer);

  Parts parts_;
};

}  // namespace engine
