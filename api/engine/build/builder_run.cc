// Builder: RUN.
#include <algorithm>
#include <memory>
#include <utility>

#include "api/engine/build/builder.h"
#include "api/engine/files/tool_frames.h"
#include "images/dockerfile/text.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using nlohmann::json;

namespace {

Error needs_buildkit(const std::string& option) {
  return Error{Code::kInvalidArgument,
               "the --" + option +
                   " option requires BuildKit. Refer to "
                   "https://docs.docker.com/go/buildkit/ to learn how to build images with "
                   "BuildKit enabled"};
}

/// The words by which the history tells of a command: with those of its arguments that may be told.
std::vector<std::string> told_command(const std::vector<std::string>& command,
                                      const std::vector<std::string>& arguments,
                                      const dockerfile::BuildArguments& known) {
  std::vector<std::string> told = command;
  if (arguments.empty()) return told;
  std::vector<std::string> named;
  for (const std::string& argument : arguments)
    if (known.is_told(argument.substr(0, argument.find('=')))) named.push_back(argument);
  std::sort(named.begin(), named.end());
  named.insert(named.begin(), "|" + std::to_string(named.size()));
  told.insert(told.begin(), named.begin(), named.end());
  return told;
}

}  // namespace

/// A create request.
json Builder::container_of_command(const std::vector<std::string>& command) const {
  return {{"Cmd", command},
          {"Entrypoint", {""}},
          {"Env", environment()},
          {"User", state_.config.value("User", "")},
          {"WorkingDir", state_.config.value("WorkingDir", "")},
          {"Healthcheck", {{"Test", {"NONE"}}}},
          {"HostConfig", session_.options.host_config}};
}

Builder::Step Builder::run_command(const Instruction& instruction) {
  if (!instruction.flags.empty()) co_return needs_buildkit(instruction.flags.begin()->first);
  const std::vector<std::string> command = dockerfile::command_line(instruction, state_.config);
  const std::vector<std::string> arguments =
      arguments_.beside(dockerfile::strings_of(state_.config, "Env"));
  const std::vector<std::string> told = told_command(command, arguments, arguments_);
  json config = state_.with_command(told);
  if (!told.empty()) config["Entrypoint"] = nullptr;
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();

  json body = container_of_command(command);
  const auto container = co_await containers_.make(state_, std::move(body), /*files_only=*/false);
  if (!container) co_return container.error();
  session_.tell(ContainerBegun{.container = (*container)->id});
  auto ran = co_await containers_.run(*container);
  if (!ran) co_return ran;
  if (const int code = (*container)->state.exit_code; code != 0) {
    exit_code_ = code;
    co_return Error{Code::kInvalidArgument,
                    "The command '" + dockerfile::joined(command, " ") +
                        "' returned a non-zero code: " + std::to_string(code)};
  }
  co_return co_await commit_container(*container, std::move(config));
}

/// What it wrote into the image's volumes is lost with the container.
Builder::Step Builder::commit_container(ContainerPtr container, json config) {
  auto frames = std::make_unique<ToolFrames>(
      start_reading_changes(session_.parts.containers.files(), container, "layer"));
  images::CommitOptions options = state_.commit_options(config, container->id);
  const auto made = co_await session_.parts.commits.commit_layer(
      std::move(frames), std::move(options), ContainerPtr(), session_.stop);
  if (!made) co_return made.error();
  state_.image_id = made->id;
  co_return Result<void>();
}

}  // namespace engine::build
