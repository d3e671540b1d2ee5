// CopyLayers: makes a layer of what COPY, ADD and WORKDIR write. The files tool of a machine that
// is started for it writes what comes, and sends back at once what has changed.
//
// Threads: the io_context thread; files are sent on a thread of its own pool. The session outlives
// it.
#pragma once

#include <memory>
#include <string>

#include "api/engine/build/session.h"
#include "api/engine/build/sources/copy_sources.h"

namespace engine::build {

class CopyLayers {
 public:
  explicit CopyLayers(const Session& session) : session_(session) {}

  /// Makes an image of `container`, which has the image so far, and what `plan` writes into it;
  /// returns the new image's ID. A plan without sources makes its destination, a directory.
  net::awaitable<base::Result<std::string>> commit(ContainerPtr container, CopyPlan plan,
                                                   images::CommitOptions options);

 private:
  using MadePtr = std::shared_ptr<base::Result<images::LoadedImage>>;

  net::awaitable<void> send(std::shared_ptr<const CopyPlan> plan,
                            std::shared_ptr<base::UniqueFd> out,
                            std::shared_ptr<base::Result<void>> result);
  net::awaitable<void> take_layer(std::shared_ptr<async::BytePipe> output,
                                  images::CommitOptions options, MadePtr made);

  const Session& session_;
  // A pool of its own, since it waits for a machine to start, which may need a thread of the shared
  // one.
  async::BlockingPool copying_{1};
};

}  // namespace engine::build
