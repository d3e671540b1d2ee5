// Builder: carries out a Dockerfile as Docker's classic builder does, instruction by instruction,
// each of which makes an image.
//
// RUN runs in a container, a machine of its own. COPY, ADD and WORKDIR write through the files tool
// of a machine that is started for that, which sends back at once what has changed: the layer. All
// others change the configuration and need no machine.
//
// builder.cc       instructions, ARG, everything that changes the configuration
// builder_stages.cc  stages, FROM, triggers
// builder_cache.cc   the cache
// builder_run.cc   containers: RUN, WORKDIR, removal
// builder_copy.cc  COPY, ADD
// builder_pull.cc  images that are not here, --pull, files of ADD that are not here
// Threads: the io_context thread; what blocks goes to the pool. run() is awaited shielded; cancel()
// ends it soon: what runs in a machine is killed, what reads and converts files is told to stop. A
// killed daemon leaves containers that the next one removes (of_build), and no
// half image: the store makes each whole or not at all.
// Trust: the Dockerfile and the context are the client's.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/async/task_group.h"
#include "api/docker/api.h"
#include "api/docker/build/build_options.h"
#include "api/docker/build/build_output.h"
#include "api/docker/build/copy_sources.h"
#include "images/dockerfile/config_changes.h"
#include "images/dockerfile/instructions.h"

namespace docker::build {

class Builder {
 public:
  /// `context`: null if there is none (a Dockerfile alone).
  Builder(Api& api, BuildOptions options, std::shared_ptr<BuildOutput> output, TreePtr context)
      : api_(api),
        options_(std::move(options)),
        output_(std::move(output)),
        context_(std::move(context)),
        arguments_(options_.arguments),
        tasks_(api.executor) {}

  /// The image's ID; tells the output how it goes, but not the error.
  net::awaitable<base::Result<std::string>> run(dockerfile::Dockerfile file);
  void cancel();
  /// Of the command that failed; 0 for every other error.
  int exit_code() const { return exit_code_; }

 private:
  struct State {
    std::string image_id;  // empty: nothing has been made from scratch yet
    nlohmann::json config;
    std::string author;
    dockerfile::ConfigChanges changes;
    bool misses_cache = false;  // after the first miss nothing is looked for
  };
  struct StageResult {
    std::string name;
    std::string image_id;
    nlohmann::json config;
  };
  struct Intermediate {
    std::string id;
    engine::ContainerPtr container;  // null: an instruction that needed none
  };
  using Step = net::awaitable<base::Result<void>>;

  // builder.cc
  Step run_stage(dockerfile::Stage stage);
  Step dispatch(dockerfile::Instruction instruction);
  Step carry_out(dockerfile::Instruction instruction);
  Step declare(const dockerfile::Instruction& instruction);
  Step change_config(const dockerfile::Instruction& instruction);
  Step record(std::string said);
  net::awaitable<base::Result<images::Image>> resolve(std::string name);
  nlohmann::json with_command(std::vector<std::string> words) const;
  nlohmann::json with_comment(std::vector<std::string> words) const;
  /// As the configuration of a container comes out of joining it with its image's.
  nlohmann::json as_created(nlohmann::json config) const;
  images::CommitOptions commit_options(const nlohmann::json& container_config,
                                       std::string container) const;
  std::vector<std::string> environment() const;
  void print_step(const std::string& text);
  void print_image();

  // builder_stages.cc
  Step run_global_argument(dockerfile::Instruction argument);
  Step begin_stage(const dockerfile::Stage& stage);
  Step run_triggers();
  /// null if there is none; an Error for a number that is none's.
  base::Result<const StageResult*> finished_stage(const std::string& name, bool by_number) const;

  // builder_cache.cc
  net::awaitable<base::Result<bool>> is_cached(nlohmann::json container_config);
  net::awaitable<base::Result<std::set<std::string>>> cache_sources();

  // builder_run.cc
  Step run_command(const dockerfile::Instruction& instruction);
  Step run_container(engine::ContainerPtr container);
  Step make_workdir(const dockerfile::Instruction& instruction);
  net::awaitable<base::Result<engine::ContainerPtr>> make_container(nlohmann::json body,
                                                                    bool files_only);
  net::awaitable<base::Result<std::string>> image_for_container();
  net::awaitable<void> remove_intermediates(bool failed);
  net::awaitable<void> forward(std::unique_ptr<engine::Attachment> attachment);

  // builder_pull.cc
  /// The image that FROM or --from names, fetched if it must be.
  net::awaitable<base::Result<images::Image>> find_base(std::string name);
  net::awaitable<base::Result<void>> pull(images::Reference reference);
  /// What ADD names by its URL.
  net::awaitable<base::Result<CopySource>> download(std::string url, std::string destination);

  // builder_copy.cc
  Step copy(const dockerfile::Instruction& instruction);
  net::awaitable<base::Result<TreePtr>> tree_of(std::string from, std::string name);
  net::awaitable<base::Result<TreePtr>> read_tree(std::string image, std::string path);
  net::awaitable<base::Result<std::vector<CopySource>>> sources_of(
      const dockerfile::Instruction& instruction);
  /// A layer of what `plan` writes; `container` has the image so far.
  Step commit_copy(engine::ContainerPtr container, CopyPlan plan, images::CommitOptions options);

  base::Error cancelled_error() const;

  Api& api_;
  const BuildOptions options_;
  const std::shared_ptr<BuildOutput> output_;
  const TreePtr context_;
  dockerfile::BuildArguments arguments_;
  char escape_ = '\\';
  std::vector<StageResult> results_;
  State state_;
  std::vector<Intermediate> intermediates_;
  std::vector<std::string> temporary_images_;
  engine::ContainerPtr running_;
  std::size_t step_ = 0;
  std::size_t steps_ = 0;
  int exit_code_ = 0;
  bool cancelled_ = false;
  std::stop_source stop_;
  async::TaskGroup tasks_;
  // Of its own: it waits for a machine to start, which may need a thread of the shared pool.
  async::BlockingPool copying_{1};
};

std::string short_id(std::string_view id);

}  // namespace docker::build
