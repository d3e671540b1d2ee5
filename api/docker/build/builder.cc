#include "api/docker/build/builder.h"

#include "api/docker/build/cache.h"
#include "api/docker/images/image_routes.h"
#include "api/docker/images/layer_commit.h"
#include "api/engine/state/identifiers.h"
#include "images/dockerfile/expansion.h"
#include "images/dockerfile/text.h"

namespace docker::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;
using nlohmann::json;

namespace {

std::string text_of(const json& config) {
  return config.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string short_id(std::string_view id) {
  constexpr std::size_t kShort = 12;
  if (id.starts_with("sha256:")) id.remove_prefix(7);
  return std::string(id.substr(0, kShort));
}

Error Builder::cancelled_error() const { return {Code::kUnavailable, "Build cancelled"}; }

void Builder::print_step(const std::string& text) {
  output_->stream("Step " + std::to_string(++step_) + "/" + std::to_string(steps_) + " : " + text);
  output_->stream("\n");
}

void Builder::print_image() { output_->stream(" ---> " + short_id(state_.image_id) + "\n"); }

std::vector<std::string> Builder::environment() const {
  std::vector<std::string> all = dockerfile::strings_of(state_.config, "Env");
  for (std::string& argument : arguments_.beside(all)) all.push_back(std::move(argument));
  return all;
}

json Builder::with_command(std::vector<std::string> words) const {
  json config = state_.config;
  config["Cmd"] = std::move(words);
  return config;
}

json Builder::with_comment(std::vector<std::string> words) const {
  std::vector<std::string> command = dockerfile::shell_of(state_.config);
  for (std::string& word : words) command.push_back(std::move(word));
  json config = with_command(std::move(command));
  config.erase("ArgsEscaped");
  return config;
}

json Builder::as_created(json config) const {
  if (!state_.image_id.empty() && config["Labels"].is_null()) config["Labels"] = json::object();
  return config;
}

images::CommitOptions Builder::commit_options(const json& config, std::string container) const {
  return {.parent = state_.image_id,
          .repository_and_tag = {},
          .config = text_of(state_.config),
          .container = std::move(container),
          .container_config = text_of(config),
          .created_by = dockerfile::joined(dockerfile::strings_of(config, "Cmd"), " "),
          .author = state_.author,
          .comment = {}};
}

net::awaitable<Result<images::Image>> Builder::resolve(std::string name) {
  const std::function<Result<images::Image>()> call = [&store = api_.images, name] {
    return store.resolve(name);
  };
  co_return co_await api_.threads.pool.run(call);
}

net::awaitable<Result<std::string>> Builder::run(dockerfile::Dockerfile file) {
  if (!options_.target.empty()) {
    const auto target = dockerfile::find_stage(file.stages, options_.target);
    if (!target)
      co_return Error{Code::kInvalidArgument,
                      "target stage \"" + options_.target + "\" could not be found"};
    file.stages.resize(*target + 1);
  }
  if (file.stages.empty())
    co_return Error{Code::kInvalidArgument, "No image was generated. Is your Dockerfile empty?"};
  for (const auto& [name, value] : options_.labels)
    file.stages.back().instructions.push_back(dockerfile::label_of(name, value));
  escape_ = file.escape;
  steps_ = file.arguments.size() + file.stages.size();
  for (const dockerfile::Stage& stage : file.stages) steps_ += stage.instructions.size();
  if (!file.warnings.empty()) output_->error_stream(dockerfile::joined(file.warnings, "\n") + "\n");

  Result<void> done;
  for (std::size_t i = 0; done && i < file.arguments.size(); ++i)
    done = co_await run_global_argument(file.arguments[i]);
  for (std::size_t i = 0; done && i < file.stages.size(); ++i)
    done = co_await run_stage(file.stages[i]);
  co_await tasks_.drained();
  if (!done) co_return std::move(done).error();
  if (const auto unused = arguments_.unused(); !unused.empty())
    output_->stream("[Warning] One or more build-args " + dockerfile::plain_list(unused) +
                    " were not consumed\n");
  if (state_.image_id.empty())
    co_return Error{Code::kInvalidArgument, "No image was generated. Is your Dockerfile empty?"};
  co_return state_.image_id;
}

Builder::Step Builder::run_stage(dockerfile::Stage stage) {
  if (const auto same = finished_stage(stage.name, /*by_number=*/false); same && *same != nullptr)
    co_return Error{Code::kInvalidArgument, stage.name + " stage name already used"};
  print_step(stage.text);
  state_ = State{};
  auto begun = co_await begin_stage(stage);
  if (!begun) co_return begun;
  state_.config["Image"] = state_.image_id;
  print_image();
  for (const Instruction& instruction : stage.instructions) {
    if (cancelled_) co_return cancelled_error();
    print_step(instruction.text);
    auto done = co_await dispatch(instruction);
    if (!done) co_return done;
    state_.config["Image"] = state_.image_id;
    print_image();
    co_await output_->room();
  }
  if (!state_.image_id.empty()) output_->aux(state_.image_id);
  arguments_.end_stage();
  results_.push_back({.name = stage.name, .image_id = state_.image_id, .config = state_.config});
  co_return Result<void>();
}

Builder::Step Builder::dispatch(Instruction instruction) {
  auto done = co_await carry_out(std::move(instruction));
  co_await remove_intermediates(!done);
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
    const auto number = engine::parse_signal(instruction.arguments.front());
    if (!number) co_return number.error();
  }
  const json old_check = state_.config.value("Healthcheck", json());
  if (instruction.kind == Kind::kHealthcheck) {
    const auto test =
        dockerfile::strings_of(old_check.is_object() ? old_check : json::object(), "Test");
    if (!test.empty() && test.front() != "NONE")
      output_->stream("Note: overriding previous HEALTHCHECK: " + dockerfile::plain_list(test) +
                      "\n");
  }
  const auto said = state_.changes.apply(instruction, state_.config);
  if (!said) co_return said.error();
  // What is not said of a check is taken from the one that the image had.
  if (instruction.kind == Kind::kHealthcheck && old_check.is_object())
    for (const auto& [name, value] : old_check.items())
      if (!state_.config["Healthcheck"].contains(name)) state_.config["Healthcheck"][name] = value;
  co_return co_await record(*said);
}

Builder::Step Builder::record(std::string said) {
  const json config = with_comment({"#(nop) ", std::move(said)});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  // dockerd makes a container for this, which it does not start; nothing would come of one here.
  const std::string id = engine::random_id();
  output_->stream(" ---> Running in " + short_id(id) + "\n");
  intermediates_.push_back({.id = id, .container = nullptr});
  const auto made = co_await commit_config_only(api_, commit_options(as_created(config), id));
  if (!made) co_return made.error();
  state_.image_id = made->id;
  co_return Result<void>();
}

}  // namespace docker::build
