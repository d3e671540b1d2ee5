// Builder: stages, what they begin with, and who may name them.
#include <optional>
#include <utility>

#include "api/engine/build/builder.h"
#include "api/engine/build/cached_config.h"
#include "images/dockerfile/expansion.h"
#include "images/dockerfile/text.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;
using nlohmann::json;

namespace {

constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

json config_of(const images::Image& image) {
  const json raw = json::parse(image.config_json, nullptr, false);
  return container_config(raw.is_object() ? raw.value("config", json()) : json());
}

}  // namespace

Builder::Step Builder::run_global_argument(Instruction argument) {
  tell_step(argument.text);
  const std::vector<std::string> known = arguments_.for_from();
  const auto expanded = dockerfile::expanded(argument, escape_, known);
  if (!expanded) co_return expanded.error();
  for (const std::string& text : expanded->arguments) {
    const std::size_t equals = text.find('=');
    std::optional<std::string> value;
    if (equals != std::string::npos) value = text.substr(equals + 1);
    arguments_.declare_global(text.substr(0, equals), std::move(value));
  }
  co_return Result<void>();
}

Builder::Step Builder::run_stage(dockerfile::Stage stage) {
  if (const auto same = stages_.find(stage.name, /*by_number=*/false); same && *same != nullptr)
    co_return Error{Code::kInvalidArgument, stage.name + " stage name already used"};
  tell_step(stage.text);
  state_ = BuildState{};
  cache_.begin_stage();
  auto begun = co_await begin_stage(stage);
  if (!begun) co_return begun;
  state_.config["Image"] = state_.image_id;
  session_.tell(StepEnded{.image = state_.image_id});
  for (const Instruction& instruction : stage.instructions) {
    if (session_.cancelled()) co_return cancelled_error();
    tell_step(instruction.text);
    auto done = co_await dispatch(instruction);
    if (!done) co_return done;
    state_.config["Image"] = state_.image_id;
    session_.tell(StepEnded{.image = state_.image_id});
    co_await session_.listener->room();
  }
  if (!state_.image_id.empty()) session_.tell(StageEnded{.image = state_.image_id});
  arguments_.end_stage();
  stages_.add({.name = stage.name, .image_id = state_.image_id, .config = state_.config});
  co_return Result<void>();
}

Builder::Step Builder::begin_stage(const dockerfile::Stage& stage) {
  const std::vector<std::string> known = arguments_.for_from();
  const dockerfile::Expansion expansion(escape_, known);
  const auto name = expansion.word(stage.base);
  if (!name) co_return name.error();
  const auto platform = expansion.word(stage.platform);
  if (!platform) co_return platform.error();
  if (auto possible = check_build_platform(*platform); !possible) co_return possible;
  if (name->empty())
    co_return Error{Code::kInvalidArgument, "base name (" + stage.base + ") should not be blank"};
  auto taken = co_await take_base(*name);
  if (!taken) co_return taken;
  const auto env = dockerfile::strings_of(state_.config, "Env");
  if (!dockerfile::value_in(env, "PATH")) {
    if (!state_.config["Env"].is_array()) state_.config["Env"] = json::array();
    state_.config["Env"].push_back(kDefaultPath);
  }
  co_return co_await run_triggers();
}

/// An earlier stage, nothing, or an image.
Builder::Step Builder::take_base(std::string name) {
  const auto earlier = stages_.find(name, /*by_number=*/false);
  if (!earlier) co_return earlier.error();
  if (*earlier != nullptr) {
    state_.image_id = (*earlier)->image_id;
    state_.config = (*earlier)->config;
  } else if (name == "scratch") {
    state_.config = container_config(json());
  } else {
    const auto image = co_await fetches_.find_base(std::move(name));
    if (!image) co_return image.error();
    state_.image_id = image->id;
    state_.config = config_of(*image);
  }
  co_return Result<void>();
}

Builder::Step Builder::run_triggers() {
  const std::vector<std::string> triggers = dockerfile::strings_of(state_.config, "OnBuild");
  if (triggers.empty()) co_return Result<void>();
  state_.config["OnBuild"] = nullptr;
  session_.tell(TriggersBegun{.count = triggers.size()});
  for (const std::string& trigger : triggers) {
    state_.config["Image"] = state_.image_id;
    const auto parsed = dockerfile::parse(trigger);
    if (!parsed) co_return parsed.error();
    if (parsed->statements.size() != 1)
      co_return Error{Code::kInvalidArgument, "onbuild trigger should be a single expression"};
    const auto instruction = dockerfile::check(parsed->statements.front());
    if (!instruction) co_return instruction.error();
    if (instruction->kind == Kind::kFrom)
      co_return Error{Code::kInvalidArgument, "FROM isn't allowed as an ONBUILD trigger"};
    auto done = co_await dispatch(*instruction);
    if (!done) co_return done;
  }
  co_return Result<void>();
}

}  // namespace engine::build
