// Builder: carries out a Dockerfile as Docker's classic builder does, instruction by instruction,
// each of which makes an image.
//
// RUN runs in a container, a machine of its own. COPY, ADD and WORKDIR write through the files tool
// of a machine that is started for that, which sends back at once what has changed: the layer. All
// others change the configuration and need no machine.
//
// builder.cc        instructions, ARG, everything that changes the configuration
// builder_stages.cc stages, FROM, triggers
// builder_run.cc    RUN
// builder_copy.cc   COPY, ADD, WORKDIR
// What they work with is in classes of their own: Fetches, SourceFinder, BuildCache,
// StepContainers, CopyLayers.
// Threads: the io_context thread; what blocks goes to the pool. run() is awaited shielded; the
// session's stop ends it soon: what runs in a machine is killed, what reads and converts files is
// told to stop. There is no half image: the store makes each whole or not at all.
// Trust: the Dockerfile and the context are the client's.
#pragma once

#include <string>
#include <vector>

#include "api/engine/build/build_cache.h"
#include "api/engine/build/build_state.h"
#include "api/engine/build/copy_layers.h"
#include "api/engine/build/fetches.h"
#include "api/engine/build/finished_stages.h"
#include "api/engine/build/session.h"
#include "api/engine/build/source_finder.h"
#include "api/engine/build/step_containers.h"
#include "images/dockerfile/instructions.h"

namespace engine::build {

class Builder {
 public:
  /// `context`: null if there is none (a Dockerfile alone). The session outlives it.
  Builder(const Session& session, TreePtr context)
      : session_(session),
        arguments_(session.options.arguments),
        cache_(session),
        containers_(session),
        fetches_(session),
        sources_(session, std::move(context), stages_, fetches_),
        layers_(session) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  /// Carries out `file`; returns the image's ID. The listener is told how it goes, but not the
  /// error. Called once.
  net::awaitable<base::Result<std::string>> run(dockerfile::Dockerfile file);
  /// The exit code of the command that failed; 0 for every other error.
  int exit_code() const { return exit_code_; }

 private:
  using Step = net::awaitable<base::Result<void>>;
  struct Steps {
    std::size_t begun = 0;
    std::size_t all = 0;
  };

  // builder.cc
  base::Result<dockerfile::Dockerfile> wanted_part(dockerfile::Dockerfile file) const;
  Step run_all(dockerfile::Dockerfile file);
  Step dispatch(dockerfile::Instruction instruction);
  Step carry_out(dockerfile::Instruction instruction);
  Step declare(const dockerfile::Instruction& instruction);
  Step change_config(const dockerfile::Instruction& instruction);
  Step record(std::string said);
  net::awaitable<base::Result<bool>> is_cached(nlohmann::json container_config);
  std::vector<std::string> environment() const;
  void tell_step(const std::string& text);

  // builder_stages.cc
  Step run_global_argument(dockerfile::Instruction argument);
  Step run_stage(dockerfile::Stage stage);
  Step begin_stage(const dockerfile::Stage& stage);
  Step take_base(std::string name);
  Step run_triggers();

  // builder_run.cc
  Step run_command(const dockerfile::Instruction& instruction);
  nlohmann::json container_of_command(const std::vector<std::string>& command) const;
  Step commit_container(ContainerPtr container, nlohmann::json config);

  // builder_copy.cc
  Step copy(const dockerfile::Instruction& instruction);
  Step make_workdir(const dockerfile::Instruction& instruction);
  Step commit_copy(ContainerPtr container, CopyPlan plan, images::CommitOptions options);

  const Session& session_;
  FinishedStages stages_;
  BuildState state_;
  dockerfile::BuildArguments arguments_;
  char escape_ = '\\';
  BuildCache cache_;
  StepContainers containers_;
  Fetches fetches_;
  SourceFinder sources_;
  CopyLayers layers_;
  Steps steps_;
  int exit_code_ = 0;
};

}  // namespace engine::build
