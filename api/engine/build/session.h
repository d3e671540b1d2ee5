// Session: what the parts of one build share.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/engine/build/build_events.h"
#include "api/engine/build/build_options.h"
#include "api/engine/containers/containers.h"
#include "api/engine/images/image_commits.h"
#include "api/engine/state/events.h"
#include "images/registry/registries.h"
#include "images/store/store.h"

namespace engine::build {

/// What builds work with; all of it outlives them.
struct BuildParts {
  net::any_io_executor executor;
  Containers& containers;
  ImageCommits& commits;
  Events& events;
  images::Store& images;
  registry::Registries& registries;
  async::BlockingPool& pool;
  async::BlockingPool& transfers;  // waits for registries
  std::string spool_directory;     // for files without names
};

struct Session {
  BuildParts parts;
  BuildOptions options;
  std::shared_ptr<BuildListener> listener;
  std::stop_token stop;  // requested on the io_context thread: nobody waits for the build any more

  void tell(const BuildEvent& event) const { listener->tell(event); }
  bool cancelled() const { return stop.stop_requested(); }
};

base::Error cancelled_error();

/// Finds an image of this host by any of its names; the store is asked on the pool.
net::awaitable<base::Result<images::Image>> resolve_image(const Session& session, std::string name);

}  // namespace engine::build
