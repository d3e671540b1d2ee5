#include "guest-init/files/directory_listing.h"

#include <fcntl.h>

#include <string_view>

#include "vmm/base/unique_fd.h"

namespace guest_init {

base::Result<DirectoryListing> DirectoryListing::open(int directory, const std::string& name) {
  base::UniqueFd fd(
      openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return base::errno_error("open a directory");
  DIR* const stream = fdopendir(fd.get());
  if (stream == nullptr) return base::errno_error("read a directory");
  fd.release();
  return DirectoryListing(stream);
}

base::Result<std::optional<std::string>> DirectoryListing::next() {
  errno = 0;
  while (const dirent* entry = readdir(stream_.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return std::optional<std::string>(name);
  }
  if (errno != 0) return base::errno_error("read a directory");
  return std::optional<std::string>();
}

}  // namespace guest_init
