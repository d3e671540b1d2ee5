// CopySources: finds what COPY and ADD name in a tree of files, sums it for the cache, and sends it
// to a guest's files tool ("build", guest-init/protocol/files.h).
//
// Threads: any; the trees are only read.
// Errors: kInvalidArgument and kNotFound, in the classic builder's words.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "api/engine/build/sources/file_tree.h"
#include "images/store/store.h"
#include "vmm/base/result.h"

namespace engine::build {

using TreePtr = std::shared_ptr<const FileTree>;

struct CopySource {
  TreePtr tree;
  std::string path;         // in the tree; links in it are not followed yet
  std::string hash;         // "file:...", "dir:..."; of a download the sum alone, as dockerd has it
  bool downloaded = false;  // by ADD, from a URL: an archive is not extracted then
};

/// Finds what `name`, with wildcards or without, stands for in `tree`. `from_image`: the tree is an
/// image's, not the build context.
base::Result<std::vector<CopySource>> find_sources(TreePtr tree, const std::string& name,
                                                   bool from_image);

/// What the history, and so the cache, calls these sources by: the hash of one, or of all.
std::string hash_of_sources(const std::vector<CopySource>& sources);

struct CopyPlan {
  std::vector<CopySource> sources;
  std::string destination;                 // absolute; it may end with a slash
  std::string owner;                       // "user:group"; "": the files' own
  std::optional<std::uint32_t> mode = {};  // of all but symbolic links and what is extracted
  bool extracts = false;                   // ADD: an archive's contents instead of it
  std::string spool_directory = {};        // where an archive is unpacked to, without a name
  std::stop_token stop = {};               // when nobody waits for it any more
};

/// Writes the frames of `plan` to `out`. Blocks.
base::Result<void> send_copy(images::Store& store, const CopyPlan& plan, images::ByteSink& out);

/// A new file without a name, in `directory`.
base::Result<base::UniqueFd> spool_file(const std::string& directory);

}  // namespace engine::build
