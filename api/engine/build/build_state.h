// BuildState: the image that a stage of a build has come to, as a configuration on top of files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "images/dockerfile/config_changes.h"
#include "images/store/store.h"

namespace engine::build {

struct BuildState {
  std::string image_id;  // empty: nothing has been made from scratch yet
  nlohmann::json config;
  std::string author;
  dockerfile::ConfigChanges changes;

  /// The configuration of a container that would run `words`, or (with_comment) of one that only
  /// names a step by them.
  nlohmann::json with_command(std::vector<std::string> words) const;
  nlohmann::json with_comment(std::vector<std::string> words) const;
  /// `container_config` as it is after a container was created with it from the image so far.
  nlohmann::json as_created(nlohmann::json container_config) const;
  /// How to commit `container`, made with `container_config`, as an image on top of this one.
  images::CommitOptions commit_options(const nlohmann::json& container_config,
                                       std::string container) const;
};

}  // namespace engine::build
