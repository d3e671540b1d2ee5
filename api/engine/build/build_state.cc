#include "api/engine/build/build_state.h"

#include <utility>

#include "images/dockerfile/text.h"

namespace engine::build {

using nlohmann::json;

namespace {

std::string text_of(const json& config) {
  return config.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

json BuildState::with_command(std::vector<std::string> words) const {
  json container = config;
  container["Cmd"] = std::move(words);
  return container;
}

json BuildState::with_comment(std::vector<std::string> words) const {
  std::vector<std::string> command = dockerfile::shell_of(config);
  for (std::string& word : words) command.push_back(std::move(word));
  json container = with_command(std::move(command));
  container.erase("ArgsEscaped");
  return container;
}

json BuildState::as_created(json container_config) const {
  if (!image_id.empty() && container_config["Labels"].is_null())
    container_config["Labels"] = json::object();
  return container_config;
}

images::CommitOptions BuildState::commit_options(const json& container_config,
                                                 std::string container) const {
  return {.parent = image_id,
          .repository_and_tag = {},
          .config = text_of(config),
          .container = std::move(container),
          .container_config = text_of(container_config),
          .created_by = dockerfile::joined(dockerfile::strings_of(container_config, "Cmd"), " "),
          .author = author,
          .comment = {}};
}

}  // namespace engine::build
