// DirectoryListing: the names in a directory, one after the other. Trust: a name is any bytes, from
// an image or a container.
#pragma once

#include <dirent.h>

#include <memory>
#include <optional>
#include <string>

#include "vmm/base/result.h"

namespace guest_init {

class DirectoryListing {
 public:
  /// `directory` may be O_PATH. A symbolic link is not followed.
  static base::Result<DirectoryListing> open(int directory, const std::string& name = ".");

  /// The next name, in no order and without "." and ".."; nullopt at the end.
  base::Result<std::optional<std::string>> next();

  /// The directory that is listed; valid as long as this object.
  int get() const { return dirfd(stream_.get()); }

 private:
  explicit DirectoryListing(DIR* stream) : stream_(stream, closedir) {}

  std::unique_ptr<DIR, int (*)(DIR*)> stream_;
};

}  // namespace guest_init
