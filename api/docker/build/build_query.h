// What a client asks of a build in its query.
// Spec: Docker Engine API 1.51, POST /build.
#pragma once

#include <string>

#include "api/engine/build/build_options.h"
#include "api/http/target.h"
#include "vmm/base/result.h"

namespace docker::build {

struct BuildQuery {
  engine::build::BuildOptions options;  // the client's credentials are not in it
  std::string dockerfile = "Dockerfile";
  std::string remote;  // where the context is, if it is not the body
  bool quiet = false;
};

/// kInvalidArgument or kNotSupported, with a sentence.
base::Result<BuildQuery> parse_build_query(const http::Query& query);

}  // namespace docker::build
