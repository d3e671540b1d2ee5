// LowerDirectory: one directory of the image, joined from several layers as overlayfs does it: of a
// name the highest layer's file counts, a whiteout hides all below it, directories of one name are
// joined down to the first opaque one.
//
// It reads the layers itself: a second overlay, without the upper directory, could only be mounted
// where the container would see the layers. Layers never change. Threads: one.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class LowerDirectory {
 public:
  /// An empty directory.
  LowerDirectory() = default;
  /// `parts`: this directory in each layer that has it, highest first.
  explicit LowerDirectory(std::vector<base::UniqueFd> parts) : parts_(std::move(parts)) {}

  struct Found {
    struct stat status {};
    int directory = -1;  // of the layer that has it; valid as long as the LowerDirectory
  };
  /// The highest layer's `name`; nullopt if there is none, or a whiteout hides it.
  base::Result<std::optional<Found>> find(const std::string& name) const;

  /// The directory `name` in this one; an empty one if there is none.
  base::Result<LowerDirectory> enter(const std::string& name) const;

  /// All names of all parts, each once; those of whiteouts, too.
  base::Result<std::vector<std::string>> names() const;

 private:
  std::vector<base::UniqueFd> parts_;
};

/// The names in a directory without "." and "..", in no order. `directory` may be O_PATH.
base::Result<std::vector<std::string>> names_in(int directory);

}  // namespace guest_init
