// BuildOptions: what a client asks of a build, checked. Everything is honoured or refused.
// Spec: Docker Engine API 1.51, POST /build.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/http/target.h"
#include "images/dockerfile/build_arguments.h"
#include "images/registry/documents/credentials.h"
#include "vmm/base/result.h"

namespace docker::build {

struct BuildOptions {
  std::string dockerfile = "Dockerfile";
  std::string remote;
  std::vector<std::string> tags;  // familiar, with their tags
  std::string target;
  std::string platform;
  std::string build_id;
  bool quiet = false;
  bool no_cache = false;
  bool pull = false;
  bool remove = true;         // containers of steps that succeeded
  bool force_remove = false;  // also those of one that failed
  std::vector<std::string> cache_from;
  bool limits_cache = false;  // cache_from was given
  dockerfile::BuildArguments::Values arguments;
  std::map<std::string, std::string> labels;
  registry::CredentialsByServer credentials;  // the client's; parse_build_options() has them not
  nlohmann::json host_config = nlohmann::json::object();  // of the containers of RUN
};

/// kInvalidArgument or kNotSupported, with a sentence.
base::Result<BuildOptions> parse_build_options(const http::Query& query);

/// "linux/amd64", "linux", "": kNotSupported, with a sentence, for another one than this host's.
base::Result<void> check_build_platform(const std::string& platform);

}  // namespace docker::build
