#include "api/privileged/host_files.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace engine::host_files {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

Error missing(const std::string& path) {
  return {Code::kNotFound, "bind source path does not exist: " + path};
}

Error failed(const std::string& path, int error_number = errno) {
  if (error_number == ENOENT || error_number == ENOTDIR) return missing(path);
  return base::errno_error("open " + path, error_number);
}

/// Whether `path` is `directory` or below it; both are normal.
bool is_in(const fs::path& path, const fs::path& directory) {
  const auto [end, ignored] =
      std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

/// Where the opened file is, after symbolic links were followed.
Result<fs::path> place_of(int fd) {
  std::error_code error;
  fs::path place = fs::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
  if (error) return Error{Code::kInternal, "find the place of a file: " + error.message()};
  return place;
}

Result<void> check_place(int fd, const std::string& path, const std::vector<std::string>& allowed) {
  if (allowed.empty()) return {};
  const auto place = place_of(fd);
  if (!place) return place.error();
  const bool is_allowed = std::ranges::any_of(allowed, [&](const std::string& directory) {
    std::error_code error;
    const fs::path normal = fs::canonical(directory, error);
    return directory.starts_with('/') && !error && is_in(*place, normal);
  });
  if (is_allowed) return {};
  return Error{Code::kPermissionDenied,
               "containers of this host may not have " + path +
                   ": it is in none of the directories "
                   "that the daemon was given for that (--host-directory)"};
}

Result<void> check_type(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return failed(path);
  if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode)) return {};
  const char* const what = S_ISSOCK(status.st_mode)   ? "a socket"
                           : S_ISFIFO(status.st_mode) ? "a pipe"
                                                      : "a device";
  return Error{Code::kNotSupported, path + " is " + what +
                                        ": only files and directories of the host can be in a "
                                        "container"};
}

Result<base::UniqueFd> find(const std::string& path, const std::vector<std::string>& allowed) {
  base::UniqueFd found(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!found) return failed(path);
  RETURN_IF_ERROR(check_place(found.get(), path, allowed));
  RETURN_IF_ERROR(check_type(found.get(), path));
  return found;
}

Error not_made(const fs::path& path) {
  return {Code::kInternal, "error while creating mount source path '" + path.string() +
                               "': mkdir " + base::errno_error(path.string()).message};
}

/// Makes the directory, with those above it. What is there of the path must be allowed, and the
/// rest is made below just that, whatever becomes of its name meanwhile.
Result<void> make(const fs::path& path, const std::vector<std::string>& allowed) {
  fs::path there = path;
  std::error_code ignored;
  while (there.has_relative_path() && !fs::exists(there, ignored)) there = there.parent_path();
  auto directory = find(there, allowed);
  if (!directory) return std::move(directory).error();
  for (const fs::path& name : path.lexically_relative(there)) {
    if (::mkdirat(directory->get(), name.c_str(), 0755) != 0 && errno != EEXIST)
      return not_made(path);
    base::UniqueFd next(
        ::openat(directory->get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return not_made(path);
    *directory = std::move(next);
  }
  return {};
}

Result<void> set_attributes(int tree, const HostTree& wanted) {
  mount_attr attributes{};
  attributes.attr_set =
      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW;
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0)
    return base::errno_error("protect the mount of " + wanted.path);
  if (!wanted.read_only) return {};
  attributes = {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  const unsigned below = wanted.read_only_below ? AT_RECURSIVE : 0u;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH | below, &attributes, sizeof attributes) != 0)
    return base::errno_error("make the mount of " + wanted.path + " read-only");
  return {};
}

}  // namespace

Result<void> check(const std::string& path, const std::vector<std::string>& allowed) {
  const auto found = find(path, allowed);
  return found ? Result<void>() : Result<void>(found.error());
}

Result<base::UniqueFd> open(const HostTree& wanted, const std::vector<std::string>& all_allowed) {
  const std::vector<std::string> allowed =
      wanted.of_daemon ? std::vector<std::string>() : all_allowed;
  auto found = find(wanted.path, allowed);
  if (!found && found.error().code == Code::kNotFound && wanted.create) {
    RETURN_IF_ERROR(make(wanted.path, allowed));
    found = find(wanted.path, allowed);
  }
  if (!found) return found;
  const unsigned below = wanted.mounts_below ? AT_RECURSIVE : 0u;
  base::UniqueFd tree(
      ::open_tree(found->get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | below));
  if (!tree) return base::errno_error("copy the mount of " + wanted.path);
  RETURN_IF_ERROR(set_attributes(tree.get(), wanted));
  return tree;
}

}  // namespace engine::host_files
