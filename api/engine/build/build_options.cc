#include "api/engine/build/build_options.h"

#include <algorithm>

#include "images/store/values/image_config.h"

namespace engine::build {

using base::Result;

Result<void> check_build_platform(const std::string& platform) {
  if (platform.empty()) return {};
  const std::size_t slash = std::min(platform.find('/'), platform.size());
  const std::string os = platform.substr(0, slash);
  std::string architecture = slash == platform.size() ? "" : platform.substr(slash + 1);
  architecture.resize(std::min(architecture.find('/'), architecture.size()));
  if (architecture.empty() && os == images::host_architecture()) return {};
  if (architecture == "x86_64") architecture = "amd64";
  return images::check_platform(os, architecture);
}

}  // namespace engine::build
