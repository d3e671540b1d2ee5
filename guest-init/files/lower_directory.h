// LowerDirectory: one directory of the image, as overlayfs joins it from several layers: the first
// that has a name counts, a whiteout ends the search, directories add up until one is opaque.
//
// Read by hand because a second overlay without the upper directory could only be mounted with the
// layers in the container's sight. Layers are immutable.
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
  /// Nothing is in it.
  LowerDirectory() = default;
  /// The same directory of each layer that has it, highest first.
  explicit LowerDirectory(std::vector<base::UniqueFd> parts) : parts_(std::move(parts)) {}

  struct Found {
    struct stat status {};
    int directory = -1;  // of the layer that has it; valid as long as the LowerDirectory
  };
  base::Result<std::optional<Found>> find(const std::string& name) const;

  /// Empty if there is no directory of that name.
  base::Result<LowerDirectory> enter(const std::string& name) const;

  base::Result<std::vector<std::string>> names() const;

 private:
  std::vector<base::UniqueFd> parts_;
};

/// The names in a directory without "." and "..", in no order. `directory` may be O_PATH.
base::Result<std::vector<std::string>> names_in(int directory);

}  // namespace guest_init
