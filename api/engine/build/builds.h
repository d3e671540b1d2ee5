// Builds: runs builds of images from Dockerfiles for whoever asks, and cancels them by their IDs.
//
// A front makes the options (build_options.h) and the input (build_input.h), and hears how the
// build goes (build_events.h). Threads: the io_context thread. What it is given outlives it; it
// outlives the builds.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "api/engine/build/session.h"
#include "api/engine/build/sources/build_input.h"

namespace engine::build {

struct BuildOutcome {
  base::Result<std::string> image;  // its ID
  int exit_code = 0;                // of the command that failed; 0: the error is not a command's
};

class Builds {
 public:
  explicit Builds(BuildParts parts) : parts_(std::move(parts)) {}

  /// Runs a build to its end and tags the image. Await it shielded. `stop`, requested on the
  /// io_context thread, ends it soon and in order.
  net::awaitable<BuildOutcome> run(BuildOptions options, BuildInput input,
                                   std::shared_ptr<BuildListener> listener, std::stop_source stop);
  /// Ends the build under way that has this as its BuildOptions::build_id, if there is one.
  void cancel(const std::string& id);

 private:
  BuildParts parts_;
  std::map<std::string, std::stop_source> named_;  // those under way that have an ID
};

}  // namespace engine::build
