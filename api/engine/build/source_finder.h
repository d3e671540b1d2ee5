// SourceFinder: finds what COPY and ADD name: in the build context, in an earlier stage or an
// image, or on the web.
//
// Files of an image are read by the files tool of a machine that is started for that; what it sends
// becomes a tree. Threads: the io_context thread; trees are searched on the pool.
// Lifetime: the session and the stages outlive it.
#pragma once

#include <string>
#include <vector>

#include "api/engine/build/fetches.h"
#include "api/engine/build/finished_stages.h"
#include "api/engine/build/session.h"
#include "api/engine/build/sources/copy_sources.h"
#include "images/dockerfile/instructions.h"

namespace engine::build {

class SourceFinder {
 public:
  /// `context`: null if there is none (a Dockerfile alone).
  SourceFinder(const Session& session, TreePtr context, const FinishedStages& stages,
               Fetches& fetches)
      : session_(session), context_(std::move(context)), stages_(stages), fetches_(fetches) {}

  /// The sources of a COPY or ADD: at least one, or an Error.
  net::awaitable<base::Result<std::vector<CopySource>>> sources_of(
      dockerfile::Instruction instruction);

 private:
  net::awaitable<base::Result<TreePtr>> tree_of(std::string from, std::string name);
  net::awaitable<base::Result<TreePtr>> tree_in_image(std::string image, std::string name);
  net::awaitable<base::Result<TreePtr>> read_tree(std::string image, std::string path);
  net::awaitable<base::Result<TreePtr>> read_files(ContainerPtr container, std::string path);
  net::awaitable<base::Result<std::vector<CopySource>>> find_in(TreePtr tree, std::string name,
                                                                bool from_image);

  const Session& session_;
  const TreePtr context_;
  const FinishedStages& stages_;
  Fetches& fetches_;
};

/// "ADD" or "COPY".
std::string keyword(const dockerfile::Instruction& instruction);

}  // namespace engine::build
