#include "api/engine/build/builder.h"

#include <optional>
#include <utility>

#include "api/engine/settings/settings.h"
#include "api/engine/state/identifiers.h"
#include "images/dockerfile/expansion.h"
#include "images/dockerfile/text.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;
using nlohmann::json;

void Builder::tell_step(const std::string& text) {
  session_.tell(StepBegun{.number = ++steps_.begun, .of = steps_.all, .text = text});
}

std::vector<std::string> Builder::environment() const {
  std::vector<std::string> all = dockerfile::strings_of(state_.config, "Env");
  for (std::string& argument : arguments_.beside(all)) all.push_back(std::move(argument));
  return all;
}

/// The stages up to the one that is asked for, with the client's labels.
Result<dockerfile::Dockerfile> Builder::wanted_part(dockerfile::Dockerfile file) const {
  const BuildOptions& options = session_.options;
  if (!options.target.empty()) {
    const auto target = dockerfile::find_stage(file.stages, options.target);
    if (!target)
      return Error{Code::kInvalidArgument,
                   "target stage \"" + options.target + "\" could not be found"};
    file.stages.resize(*target + 1);
  }
  if (file.stages.empty())
    return Error{Code::kInvalidArgument, "No image was generated. Is your Dockerfile empty?"};
  for (const auto& [name, value] : options.labels)
    file.stages.back().instructions.push_back(dockerfile::label_of(name, value));
  return file;
}

Builder::Step Builder::run_all(dockerfile::Dockerfile file) {
  escape_ = file.escape;
  steps_.all = file.arguments.size() + file.stages.size();
  for (const dockerfile::Stage& stage : file.stages) steps_.all += stage.instructions.size();
  if (!file.warnings.empty()) session_.tell(ParserWarnings{.lines = file.warnings});
  Result<void> done;
  for (std::size_t i = 0; done && i < file.arguments.size(); ++i)
    done = co_await run_global_argument(file.arguments[i]);
  for (std::size_t i = 0; done && i < file.stages.size(); ++i)
    done = co_await run_stage(file.stages[i]);
  co_return done;
}

net::awaitable<Result<std::string>> Builder::run(dockerfile::Dockerfile file) {
  auto wanted = wanted_part(std::move(file));
  if (!wanted) co_return std::move(wanted).error();
  const auto done = co_await run_all(*std::move(wanted));
  co_await containers_.drained();
  if (!done) co_return done.error();
  if (auto unused = arguments_.unused(); !unused.empty())
    session_.tell(UnusedArguments{.names = std::move(unused)});
  if (state_.image_id.empty())
    co_return Error{Code::kInvalidArgument, "No image was generated. Is your Dockerfile empty?"};
  co_return state_.image_id;
}

Builder::Step Builder::dispatch(Instruction instruction) {
  auto done = co_await carry_out(std::move(instruction));
  co_await containers_.end_step(!done);
  co_return done;
}

Builder::Step Builder::carry_out(Instruction instruction) {
  const std::vector<std::string> variables = environment();
  const auto expanded = dockerfile::expanded(std::move(instruction), escape_, variables);
  if (!expanded) co_return expanded.error();
  switch (expanded->kind) {
    case Kind::kAdd:
    case Kind::kCopy:
      co_return co_await copy(*expanded);
    case Kind::kRun:
      co_return co_await run_command(*expanded);
    case Kind::kWorkdir:
      co_return co_await make_workdir(*expanded);
    case Kind::kArg:
      co_return co_await declare(*expanded);
    default:
      co_return co_await change_config(*expanded);
  }
}

Builder::Step Builder::declare(const Instruction& instruction) {
  for (const std::string& text : instruction.arguments) {
    const std::size_t equals = text.find('=');
    std::optional<std::string> value;
    if (equals != std::string::npos) value = text.substr(equals + 1);
    arguments_.declare(text.substr(0, equals), std::move(value));
  }
  co_return co_await record("ARG " + dockerfile::joined(instruction.arguments, " "));
}

Builder::Step Builder::change_config(const Instruction& instruction) {
  if (instruction.kind == Kind::kMaintainer) {
    state_.author = instruction.arguments.front();
    co_return co_await record("MAINTAINER " + state_.author);
  }
  if (instruction.kind == Kind::kStopSignal) {
    const auto number = parse_signal(instruction.arguments.front());
    if (!number) co_return number.error();
  }
  const json old_check = state_.config.value("Healthcheck", json());
  if (instruction.kind == Kind::kHealthcheck) {
    auto test = dockerfile::strings_of(old_check.is_object() ? old_check : json::object(), "Test");
    if (!test.empty() && test.front() != "NONE")
      session_.tell(HealthCheckReplaced{.test = std::move(test)});
  }
  const auto said = state_.changes.apply(instruction, state_.config);
  if (!said) co_return said.error();
  // What is not said of a check is taken from the one that the image had.
  if (instruction.kind == Kind::kHealthcheck && old_check.is_object())
    for (const auto& [name, value] : old_check.items())
      if (!state_.config["Healthcheck"].contains(name)) state_.config["Healthcheck"][name] = value;
  co_return co_await record(*said);
}

/// Whether there is an image of a container with that configuration: then it is the image so far.
net::awaitable<Result<bool>> Builder::is_cached(json container_config) {
  const auto hit = co_await cache_.find(state_.image_id, std::move(container_config));
  if (!hit) co_return hit.error();
  if (!*hit) co_return false;
  session_.tell(CacheHit{});
  state_.image_id = **hit;
  co_return true;
}

Builder::Step Builder::record(std::string said) {
  const json config = state_.with_comment({"#(nop) ", std::move(said)});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  // dockerd makes a container for this, which it does not start; nothing would come of one here.
  const std::string id = random_id();
  session_.tell(ContainerBegun{.container = id});
  containers_.add_imagined(id);
  images::CommitOptions options = state_.commit_options(state_.as_created(config), id);
  const auto made = co_await session_.parts.commits.commit_config_only(std::move(options));
  if (!made) co_return made.error();
  state_.image_id = made->id;
  co_return Result<void>();
}

}  // namespace engine::build
