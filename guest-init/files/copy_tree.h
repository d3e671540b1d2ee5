// copy_tree() copies a tree of an image's files into a volume; fill_directory() makes one of a
// directory that is there; remove_tree() removes one.
//
// They walk from directory to directory by descriptors, whose number is bounded, and follow no
// symbolic link. Nothing else may change what is copied meanwhile: the container has no process
// yet. Who changes the copy, as others may that have the directory, spoils it, and reaches nothing
// else.
#pragma once

#include <string>
#include <string_view>

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

/// Makes the directory `to`, if nothing is in it, like `from` with all that is below, as
/// copy_tree() does. The copy is made in `to`, under a name of its own (kFillingPrefix), and its
/// parts are moved up once they are written back: if there is no room for it, `to` stays as it was.
/// A crash may leave some parts, or the copy, which does not count as something. Several machines
/// may do this with one directory at a time: of each part the first stays. Errors: as copy_tree().
base::Result<void> fill_directory(int from, int to);

/// What fill_directory()'s copies are called, before 16 hexadecimal digits.
inline constexpr std::string_view kFillingPrefix = ".containervm-filling-";

/// Removes `name` in `parent`, whatever it is, with all that is below, at any depth. That nothing
/// is there is no Error.
base::Result<void> remove_tree(int parent, const std::string& name);

}  // namespace guest_init
