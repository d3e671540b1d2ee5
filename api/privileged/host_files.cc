#include "api/privileged/host_files.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
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

/// `place`: where `path` leads.
Result<void> check_place(const fs::path& place, const std::string& path, const Access& access) {
  if (access.directories.empty()) return {};
  const bool is_allowed =
      std::ranges::any_of(access.directories, [&](const std::string& directory) {
        std::error_code error;
        const fs::path normal = fs::canonical(directory, error);
        return directory.starts_with('/') && !error && is_in(place, normal);
      });
  if (is_allowed) return {};
  return Error{Code::kPermissionDenied,
               "containers of this host may not have " + path +
                   ": it is in none of the directories "
                   "that the daemon was given for that (--host-directory)"};
}

Result<HostFile> describe(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return failed(path);
  if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode))
    return HostFile{.is_socket = S_ISSOCK(status.st_mode),
                    .is_directory = S_ISDIR(status.st_mode),
                    .mode = status.st_mode & 0777u,
                    .user = status.st_uid,
                    .group = status.st_gid};
  return Error{Code::kNotSupported,
               path + " is " + (S_ISFIFO(status.st_mode) ? "a pipe" : "a device") +
                   ": only files, directories and sockets of the host can be in a container"};
}

/// Whether clients mean this daemon's own socket.
bool is_own_socket(const std::string& path, const Access& access) {
  const std::string normal = fs::path(path).lexically_normal();
  return !access.own_socket.empty() &&
         std::ranges::find(access.own_names, normal) != access.own_names.end();
}

struct Found {
  base::UniqueFd fd;  // O_PATH
  HostFile file;
};

Result<Found> find(const std::string& path, const Access& access) {
  const bool is_own = is_own_socket(path, access);
  Found found;
  found.fd.reset(::open((is_own ? access.own_socket : path).c_str(), O_PATH | O_CLOEXEC));
  if (!found.fd) return failed(path);
  // The daemon's socket is where its name says, as far as rules about places go.
  std::error_code error;
  const auto place = is_own ? fs::weakly_canonical(path, error) : place_of(found.fd.get());
  if (!place) return place.error();
  RETURN_IF_ERROR(check_place(*place, path, access));
  const auto file = describe(found.fd.get(), path);
  if (!file) return file.error();
  found.file = *file;
  return found;
}

/// The same, but for what a file server can show.
Result<Found> find_tree(const std::string& path, const Access& access) {
  auto found = find(path, access);
  if (found && found->file.is_socket)
    return Error{Code::kNotSupported, path + " has become a socket"};
  return found;
}

Error not_made(const fs::path& path) {
  return {Code::kInternal, "error while creating mount source path '" + path.string() +
                               "': mkdir " + base::errno_error(path.string()).message};
}

/// Makes the directory, with those above it. What is there of the path must be allowed, and the
/// rest is made below just that, whatever becomes of its name meanwhile.
Result<void> make(const fs::path& path, const Access& access) {
  fs::path there = path;
  std::error_code ignored;
  while (there.has_relative_path() && !fs::exists(there, ignored)) there = there.parent_path();
  auto found = find_tree(there, access);
  if (!found) return std::move(found).error();
  base::UniqueFd directory = std::move(found->fd);
  for (const fs::path& name : path.lexically_relative(there)) {
    if (::mkdirat(directory.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
      return not_made(path);
    base::UniqueFd next(
        ::openat(directory.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return not_made(path);
    directory = std::move(next);
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

Result<HostFile> check(const std::string& path, const Access& access) {
  const auto found = find(path, access);
  if (!found) return found.error();
  return found->file;
}

Result<base::UniqueFd> open(const HostTree& wanted, const Access& all_allowed) {
  const Access access = wanted.of_daemon ? Access() : all_allowed;
  auto found = find_tree(wanted.path, access);
  if (!found && found.error().code == Code::kNotFound && wanted.create) {
    RETURN_IF_ERROR(make(wanted.path, access));
    found = find_tree(wanted.path, access);
  }
  if (!found) return std::move(found).error();
  const unsigned below = wanted.mounts_below ? AT_RECURSIVE : 0u;
  base::UniqueFd tree(::open_tree(found->fd.get(), "",
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | below));
  if (!tree) return base::errno_error("copy the mount of " + wanted.path);
  RETURN_IF_ERROR(set_attributes(tree.get(), wanted));
  return tree;
}

/// What was found is connected to, whatever its name leads to meanwhile.
Result<base::UniqueFd> connect(const std::string& path, const Access& access) {
  const auto found = find(path, access);
  if (!found) return found.error();
  if (!found->file.is_socket) return Error{Code::kUnavailable, path + " is no socket"};
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "/proc/self/fd/" + std::to_string(found->fd.get());
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error{Code::kUnavailable, base::errno_error("connect to " + path).message};
  return socket;
}

}  // namespace engine::host_files
