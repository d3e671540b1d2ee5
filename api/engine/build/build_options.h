// BuildOptions: what a client asks of a build, checked. Everything is honoured or was refused.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "images/dockerfile/build_arguments.h"
#include "images/registry/documents/credentials.h"
#include "vmm/base/result.h"

namespace engine::build {

struct BuildOptions {
  std::string build_id;           // by which it can be cancelled; "" for none
  std::vector<std::string> tags;  // familiar, with their tags
  std::string target;
  bool no_cache = false;
  bool pull = false;
  bool remove = true;                   // containers of steps that succeeded
  bool force_remove = false;            // also those of one that failed
  std::vector<std::string> cache_from;  // what the cache is limited to; empty: nothing
  dockerfile::BuildArguments::Values arguments;
  std::map<std::string, std::string> labels;
  registry::CredentialsByServer credentials;              // the client's
  nlohmann::json host_config = nlohmann::json::object();  // of the containers of RUN
};

/// Checks a platform ("linux/amd64", "linux", ""): kNotSupported, with a sentence, if it is not
/// this host's.
base::Result<void> check_build_platform(const std::string& platform);

}  // namespace engine::build
