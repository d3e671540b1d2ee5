#include "guest-init/files/lower_directory.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <set>

#include "guest-init/files/directory_listing.h"

namespace guest_init {
namespace {

bool is_whiteout(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

/// Whether the directory is opaque: "y". overlayfs's other values ("x") are in no layer here.
bool is_opaque(int directory) {
  std::array<char, 2> value{};
  return fgetxattr(directory, "trusted.overlay.opaque", value.data(), value.size()) == 1 &&
         value[0] == 'y';
}

/// False: nothing is there.
base::Result<bool> stat_in(int directory, const std::string& name, struct stat& status) {
  if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT) return false;
  return base::errno_error("stat " + name);
}

}  // namespace

base::Result<std::vector<std::string>> names_in(int directory) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  std::vector<std::string> names;
  for (;;) {
    auto name = listing->next();
    if (!name) return std::move(name).error();
    if (!*name) return names;
    names.push_back(**std::move(name));
  }
}

base::Result<std::optional<LowerDirectory::Found>> LowerDirectory::find(
    const std::string& name) const {
  for (const base::UniqueFd& part : parts_) {
    Found found{.status = {}, .directory = part.get()};
    const auto there = stat_in(part.get(), name, found.status);
    if (!there) return there.error();
    if (!*there) continue;
    if (is_whiteout(found.status)) break;
    return std::optional<Found>(found);
  }
  return std::optional<Found>();
}

base::Result<LowerDirectory> LowerDirectory::enter(const std::string& name) const {
  std::vector<base::UniqueFd> parts;
  for (const base::UniqueFd& part : parts_) {
    struct stat status {};
    const auto there = stat_in(part.get(), name, status);
    if (!there) return there.error();
    if (!*there) continue;
    if (!S_ISDIR(status.st_mode)) break;  // a whiteout, or a file that hides what is below
    base::UniqueFd fd(
        openat(part.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return base::errno_error("open " + name);
    const bool last = is_opaque(fd.get());
    parts.push_back(std::move(fd));
    if (last) break;
  }
  return LowerDirectory(std::move(parts));
}

base::Result<std::vector<std::string>> LowerDirectory::names() const {
  std::set<std::string> all;
  for (const base::UniqueFd& part : parts_) {
    auto names = names_in(part.get());
    if (!names) return names;
    all.insert(std::make_move_iterator(names->begin()), std::make_move_iterator(names->end()));
  }
  return std::vector<std::string>(all.begin(), all.end());  // those of whiteouts, too
}

}  // namespace guest_init
