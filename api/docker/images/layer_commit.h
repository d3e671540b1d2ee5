// commit_layer(): what a run of a guest's files tool sends of a container's changes becomes a
// layer, and an image on top of the container's own. For commit and for builds.
//
// The frames become a tar stream here (tar_writer.h), on the io_context thread; the image store
// reads it on a thread of Api::streams through a bridge. Nothing is kept of one that fails.
#pragma once

#include <memory>

#include "api/docker/api.h"
#include "api/docker/files/tool_frames.h"

namespace docker {

/// Await it shielded. `paused`: a container that begin_commit_pause() paused, which goes on as soon
/// as its files are read; null for none. `stop`: on the io_context thread; then it ends soon, and
/// the files tool and the layer converter with it.
net::awaitable<base::Result<images::LoadedImage>> commit_layer(Api& api,
                                                               std::unique_ptr<ToolFrames> frames,
                                                               images::CommitOptions options,
                                                               engine::ContainerPtr paused,
                                                               std::stop_token stop);

/// An image that differs from its parent in its configuration only.
net::awaitable<base::Result<images::LoadedImage>> commit_config_only(Api& api,
                                                                     images::CommitOptions options);

}  // namespace docker
