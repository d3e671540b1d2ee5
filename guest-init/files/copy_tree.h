// Copies a tree of an image's files into a volume, and removes one.
//
// All of it goes from directory to directory by descriptors, whose number is bounded; no symbolic
// link is followed. Nothing else may change either tree meanwhile: no process of the container runs
// yet.
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
/// removed. After an Error nothing is left of the copy, if that can be. kResourceExhausted: the
/// directories are nested too deeply, or there is no room. Both descriptors may be O_PATH.
base::Result<CopiedTree> copy_tree(int from, int parent, const std::string& name);

/// Removes what `name` of `parent` is, at any depth; nothing may be there.
base::Result<void> remove_tree(int parent, const std::string& name);

}  // namespace guest_init
