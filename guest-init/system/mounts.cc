#include "guest-init/system/mounts.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

namespace guest_init {
namespace {

/// What the file system wrote into its context's log, or the error's own text.
std::string mount_reason(int context, int error) {
  std::array<char, 256> text{};
  const ssize_t size = read(context, text.data(), text.size());
  std::string reason = base::errno_error("", error).message;
  reason.erase(0, 2);  // ": "
  if (size > 2)
    reason += " (" + std::string(text.data() + 2, static_cast<std::size_t>(size - 2)) + ")";
  if (reason.ends_with("\n)")) reason.erase(reason.size() - 2, 1);
  return reason;
}

base::Error mount_error(const char* type, const std::string& step, int context) {
  const int error = errno;
  base::Error result = base::errno_error("", error);
  result.message = std::string(type) + ": " + step + ": " + mount_reason(context, error);
  return result;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

}  // namespace

base::Result<void> mount_at(const std::string& source, const std::string& target, const char* type,
                            unsigned long flags, const std::string& data) {
  if (mount(source.c_str(), target.c_str(), type, flags, data.c_str()) != 0)
    return base::errno_error("mount " + std::string(type == nullptr ? "bind" : type) + " at " +
                             target);
  return {};
}

base::Result<void> mount_disk(const std::string& device, const std::string& directory) {
  // noinit_itable: a new disk's inode tables read as zeros already.
  return mount_at(device, directory, "ext4", MS_RELATIME, "noinit_itable");
}

base::Result<void> make_disk_read_only(int root) {
  const base::UniqueFd context(fspick(root, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH));
  if (!context) return base::errno_error("fspick");
  if (fsconfig(context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0)
    return base::errno_error("make the disk read-only");
  return {};
}

base::Result<base::UniqueFd> new_mount(const char* type, const MountParameters& parameters,
                                       std::uint64_t attributes) {
  const base::UniqueFd context(fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return base::errno_error("fsopen " + std::string(type));
  for (const auto& [key, value] : parameters) {
    const int result =
        value.empty() ? fsconfig(context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                      : fsconfig(context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0);
    if (result != 0) return mount_error(type, key + "=" + value, context.get());
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return mount_error(type, "create", context.get());
  base::UniqueFd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount) return mount_error(type, "fsmount", context.get());
  return mount;
}

base::Result<base::UniqueFd> clone_mount(int directory, const std::string& path) {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH;
  base::UniqueFd mount(open_tree(directory, path.c_str(), flags));
  if (!mount) return base::errno_error("open_tree " + path);
  return mount;
}

base::Result<void> move_mount_to(int mount, int target) {
  if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return base::errno_error("move_mount");
  return {};
}

namespace {

base::Result<void> set_attributes(int mount, std::uint64_t attributes, unsigned flags) {
  mount_attr change{};
  change.attr_set = attributes;
  if (mount_setattr(mount, "", AT_EMPTY_PATH | flags, &change, sizeof change) != 0)
    return base::errno_error("mount_setattr");
  return {};
}

}  // namespace

base::Result<void> make_read_only(int mount, bool recursive) {
  return set_attributes(mount, MOUNT_ATTR_RDONLY, recursive ? AT_RECURSIVE : 0u);
}

base::Result<void> add_mount_attributes(int mount, std::uint64_t attributes) {
  return attributes == 0 ? base::Result<void>() : set_attributes(mount, attributes, 0);
}

base::Result<base::UniqueFd> open_path(const std::string& path) {
  base::UniqueFd fd(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + path);
  return fd;
}

base::Result<void> make_directories(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  if (errno != ENOENT || parent_of(path).empty()) return base::errno_error("create " + path);
  RETURN_IF_ERROR(make_directories(parent_of(path)));
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return base::errno_error("create " + path);
  return {};
}

base::Result<base::UniqueFd> RootDirectory::open_in_root(const std::string& path,
                                                         std::uint64_t flags) const {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = (flags & O_CREAT) != 0 ? 0644 : 0;
  how.resolve = RESOLVE_IN_ROOT;
  const char* relative = path.empty() ? "." : path.c_str();
  // EAGAIN: something was renamed or mounted, anywhere, while ".." was looked up.
  constexpr int kAttempts = 1000;
  for (int attempt = 1;; ++attempt) {
    base::UniqueFd fd(
        static_cast<int>(syscall(SYS_openat2, root_.get(), relative, &how, sizeof how)));
    if (fd) return fd;
    if (errno != EAGAIN || attempt == kAttempts) return base::errno_error("open " + path);
  }
}

base::Result<base::UniqueFd> RootDirectory::find(const std::string& path) const {
  return open_in_root(path, O_PATH);
}

base::Result<base::UniqueFd> RootDirectory::directory(const std::string& path) const {
  auto found = open_in_root(path, O_PATH | O_DIRECTORY);
  if (found || found.error().code != base::Code::kNotFound || path.empty()) return found;
  auto parent = directory(parent_of(path));
  if (!parent) return parent;
  const std::string name = name_of(path);
  if (!name.empty() && mkdirat(parent->get(), name.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("create " + path);
  return open_in_root(path, O_PATH | O_DIRECTORY);
}

base::Result<base::UniqueFd> RootDirectory::file(const std::string& path) const {
  std::string name = path;
  constexpr int kMostLinks = 8;  // links to what does not exist, followed by hand
  for (int links = 0; links < kMostLinks; ++links) {
    if (auto found = find(name); found) return found;
    auto parent = directory(parent_of(name));
    if (!parent) return parent;
    std::array<char, 4096> target{};
    const ssize_t size =
        readlinkat(parent->get(), name_of(name).c_str(), target.data(), target.size());
    if (size <= 0) {
      const base::UniqueFd created(openat(parent->get(), name_of(name).c_str(),
                                          O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
                                          0644));
      if (!created) return base::errno_error("create " + path);
      return find(name);
    }
    const std::string link(target.data(), static_cast<std::size_t>(size));
    name = link.starts_with('/') ? link : parent_of(name) + "/" + link;
  }
  return base::Error{base::Code::kInvalidArgument, path + ": too many symbolic links"};
}

}  // namespace guest_init
