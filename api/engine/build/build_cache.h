// BuildCache: looks among the images of this host for one that is what a step would make.
//
// Threads: the io_context thread; the store is asked on the pool. The session outlives it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "api/engine/build/session.h"

namespace engine::build {

class BuildCache {
 public:
  explicit BuildCache(const Session& session) : session_(session) {}

  /// Begins a stage. After its first miss nothing more is looked for in it.
  void begin_stage() { misses_ = false; }
  /// Finds the newest image that a container with `config` has made of `parent`.
  net::awaitable<base::Result<std::optional<std::string>>> find(std::string parent,
                                                                nlohmann::json config);

 private:
  net::awaitable<base::Result<std::set<std::string>>> sources();

  const Session& session_;
  bool misses_ = false;
};

}  // namespace engine::build
