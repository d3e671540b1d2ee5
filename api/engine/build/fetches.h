// Fetches: gets images and files that a build needs and this host may not have.
//
// Threads: the io_context thread; registries and the web are asked on the pool `transfers`, and how
// that goes is told on the io_context thread. The session outlives it.
#pragma once

#include <string>

#include "api/engine/build/session.h"
#include "api/engine/build/sources/copy_sources.h"

namespace engine::build {

class Fetches {
 public:
  explicit Fetches(const Session& session) : session_(session) {}

  /// Finds the image that FROM or --from names, and pulls it if it must.
  net::awaitable<base::Result<images::Image>> find_base(std::string name);
  /// Downloads what ADD names by a URL. `destination` decides how a file without a name is called.
  net::awaitable<base::Result<CopySource>> download(std::string url, std::string destination);

 private:
  net::awaitable<base::Result<void>> pull(images::Reference reference);

  const Session& session_;
};

}  // namespace engine::build
