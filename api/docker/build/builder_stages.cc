// Builder: stages, what they begin with, and who may name them.
#include <algorithm>
#include <charconv>

#include "api/docker/build/builder.h"
#include "api/docker/build/cache.h"
#include "images/dockerfile/expansion.h"
#include "images/dockerfile/text.h"
#include "vmm/base/letters.h"

namespace docker::build {

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
  print_step(argument.text);
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
  const auto earlier = finished_stage(*name, /*by_number=*/false);
  if (!earlier) co_return earlier.error();
  if (*earlier != nullptr) {
    state_.image_id = (*earlier)->image_id;
    state_.config = (*earlier)->config;
  } else if (*name == "scratch") {
    state_.config = container_config(json());
  } else {
    const auto image = co_await find_base(*name);
    if (!image) co_return image.error();
    state_.image_id = image->id;
    state_.config = config_of(*image);
  }
  const auto env = dockerfile::strings_of(state_.config, "Env");
  if (!dockerfile::value_in(env, "PATH")) {
    if (!state_.config["Env"].is_array()) state_.config["Env"] = json::array();
    state_.config["Env"].push_back(kDefaultPath);
  }
  co_return co_await run_triggers();
}

Builder::Step Builder::run_triggers() {
  const std::vector<std::string> triggers = dockerfile::strings_of(state_.config, "OnBuild");
  if (triggers.empty()) co_return Result<void>();
  state_.config["OnBuild"] = nullptr;
  output_->stream("# Executing " + std::to_string(triggers.size()) + " build trigger" +
                  (triggers.size() > 1 ? "s" : ""));
  output_->stream("\n");
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

Result<const Builder::StageResult*> Builder::finished_stage(const std::string& name,
                                                            bool by_number) const {
  const std::string wanted = base::lower_case(name);
  for (const StageResult& result : results_)
    if (!result.name.empty() && result.name == wanted) return &result;
  std::size_t number = 0;
  const char* const last = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data(), last, number);
  if (!by_number || error != std::errc() || end != last) return nullptr;
  if (number < results_.size()) return &results_[number];
  return Error{Code::kInvalidArgument,
               "invalid from flag value " + name +
                   (number == results_.size() ? ": refers to current build stage"
                                              : ": index out of bounds")};
}

}  // namespace docker::build
