// copy_tree() copies a tree of an image's files into a volume; remove_tree() removes one.
//
// Both walk from directory to directory by descriptors, whose number is bounded, and follow no
// symbolic link. Nothing else may change either tree meanwhile: the container has no process yet.
#pragma once

#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

struct CopiedTree {
  base::UniqueFd root;        // the new directory
  bool has_contents = false;  // some file in it has bytes
};

/// Makes the directory `name` of `parent` like `from`, with all that is below: owners, modes,
/// times, the extended attributes that belong to files and directories (file_metadata.h), links,
/// holes, devices. Sockets are left out; so is what is mounted below. What `name` was before is
/// removed. After an Error the copy is removed as far as possible; the next call for `name` removes
/// the rest. kResourceExhausted: the directories are nested too deeply, or there is no room. Both
/// descriptors may be O_PATH.
base::Result<CopiedTree> copy_tree(int from, int parent, const std::string& name);

/// Removes `name` in `parent`, whatever it is, with all that is below, at any depth. That nothing
/// is there is no Error.
base::Result<void> remove_tree(int parent, const std::string& name);

}  // namespace guest_init
