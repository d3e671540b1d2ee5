// StepContainers: makes the containers of one build, runs them, and removes them with their step.
//
// Threads: the io_context thread. A build that is told to stop has what runs killed. A killed
// daemon leaves containers that the next one removes (of_build).
// Lifetime: the session outlives it; await drained() before it is destroyed.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/async/task_group.h"
#include "api/engine/build/build_state.h"
#include "api/engine/build/session.h"

namespace engine::build {

class StepContainers {
 public:
  explicit StepContainers(const Session& session)
      : session_(session), tasks_(session.parts.executor) {}

  /// Makes a container of the image so far. `body`: a create request. `files_only`: it is never
  /// started.
  net::awaitable<base::Result<ContainerPtr>> make(const BuildState& state, nlohmann::json body,
                                                  bool files_only);
  /// Takes note of a container that dockerd would make for an instruction, and tell of; this host
  /// needs none.
  void add_imagined(std::string id) { made_.push_back({.id = std::move(id), .container = {}}); }
  /// The listener is not told of the container that was made last.
  void hide_last() { made_.back().id.clear(); }

  /// Runs a container to the end of its main process; the listener is told what that writes.
  net::awaitable<base::Result<void>> run(ContainerPtr container);
  /// Removes what the step has made, or lets go of it, as the options say.
  net::awaitable<void> end_step(bool failed);
  net::awaitable<void> drained() { return tasks_.drained(); }

 private:
  struct Made {
    std::string id;          // empty: nobody is told of it
    ContainerPtr container;  // null: an instruction that needed none
  };

  net::awaitable<base::Result<std::string>> image_for(const BuildState& state);
  net::awaitable<void> remove(Made made, bool removes);
  net::awaitable<void> remove_image(std::string id);
  net::awaitable<void> forward(std::unique_ptr<Attachment> attachment);
  void kill(const ContainerPtr& container);

  const Session& session_;
  std::vector<Made> made_;
  std::vector<std::string> temporary_images_;
  async::TaskGroup tasks_;
};

}  // namespace engine::build
