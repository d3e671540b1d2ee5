#include "guest-init/files/changes.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

namespace guest_init {
namespace {

namespace files = protocol::files;
using files::ChangeKind;

constexpr int kDeepest = 2'000;
constexpr std::string_view kWhiteoutMark = ".wh.";

/// What every container gets where its image has nothing (ContainerFilesystem), in the place of
/// Docker's own "init layer".
struct Made {
  std::string_view path;
  mode_t mode;
  off_t size;
};
constexpr Made kMade[] = {
    {".dockerenv", S_IFREG | 0644, 0},
    {"dev", S_IFDIR | 0755, 0},
    {"etc", S_IFDIR | 0755, 0},
    {"etc/hostname", S_IFREG | 0644, 0},
    {"etc/hosts", S_IFREG | 0644, 0},
    {"etc/mtab", S_IFLNK | 0777, 12},  // -> /proc/mounts
    {"etc/resolv.conf", S_IFREG | 0644, 0},
    {"proc", S_IFDIR | 0755, 0},
    {"sys", S_IFDIR | 0755, 0},
};

const Made* made_at(std::string_view path) {
  const auto* found = std::find_if(std::begin(kMade), std::end(kMade),
                                   [&](const Made& made) { return made.path == path; });
  return found == std::end(kMade) ? nullptr : found;
}

std::string_view parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

/// Archives may have left the nanoseconds out: Docker compares so.
bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && (a.tv_nsec == b.tv_nsec || a.tv_nsec == 0 || b.tv_nsec == 0);
}

bool same_owner_and_mode(const struct stat& a, const struct stat& b) {
  return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid;
}

std::string capability_of(int directory, const std::string& name) {
  const base::UniqueFd fd(
      openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  std::array<char, 64> value{};
  const ssize_t size =
      fd ? fgetxattr(fd.get(), "security.capability", value.data(), value.size()) : -1;
  return size <= 0 ? std::string() : std::string(value.data(), static_cast<std::size_t>(size));
}

/// Docker's measure: a directory's size and times say nothing, anybody's contents are not read.
bool has_changed(int directory, const std::string& name, const struct stat& now,
                 const LowerDirectory::Found& before) {
  const struct stat& old = before.status;
  if (!same_owner_and_mode(now, old) || now.st_rdev != old.st_rdev) return true;
  if (S_ISDIR(now.st_mode)) return false;
  if (!same_time(now.st_mtim, old.st_mtim) || now.st_size != old.st_size) return true;
  return S_ISREG(now.st_mode) &&
         capability_of(directory, name) != capability_of(before.directory, name);
}

bool is_as_made(const Made& made, const struct stat& now) {
  return now.st_mode == made.mode && now.st_uid == 0 && now.st_gid == 0 &&
         (S_ISDIR(made.mode) || now.st_size == made.size);
}

bool is_there(int directory, const std::string& name) {
  struct stat status {};
  return fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

base::UniqueFd open_directory(int parent, const std::string& name) {
  return base::UniqueFd(
      openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

/// Whether overlayfs shows this upper directory together with the one of the same path below.
bool is_plain(int upper) {
  for (const char* name : {"trusted.overlay.opaque", "trusted.overlay.redirect"})
    if (fgetxattr(upper, name, nullptr, 0) >= 0) return false;
  return true;
}

}  // namespace

base::Result<void> ContainerChanges::send(const std::string& merged, base::UniqueFd upper,
                                          std::vector<base::UniqueFd> layers) {
  Directory root;
  root.merged = open_directory(AT_FDCWD, merged);
  if (!root.merged) return base::errno_error("open the root");
  root.upper = open_directory(upper.get(), ".");
  if (!root.upper) return base::errno_error("open the writable directory");
  root.lower = LowerDirectory(std::move(layers));
  root.sent = true;  // the root itself is no change
  return compare(root);
}

base::Result<std::vector<std::string>> ContainerChanges::names_to_compare(
    const Directory& directory) const {
  auto names = names_in(directory.upper ? directory.upper.get() : directory.merged.get());
  if (!names) return names;
  if (!directory.upper) {
    auto old = directory.lower.names();
    if (!old) return old;
    names->insert(names->end(), std::make_move_iterator(old->begin()),
                  std::make_move_iterator(old->end()));
  }
  for (const Made& made : kMade)
    if (parent_of(made.path) == directory.path)
      names->emplace_back(made.path.substr(directory.path.empty() ? 0 : directory.path.size() + 1));
  std::sort(names->begin(), names->end());
  names->erase(std::unique(names->begin(), names->end()), names->end());
  return names;
}

base::Result<void> ContainerChanges::compare(Directory& directory) {
  if (directory.depth > kDeepest)
    return base::Error{base::Code::kResourceExhausted,
                       directory.path.substr(0, 256) + ": nested too deeply"};
  const auto names = names_to_compare(directory);
  if (!names) return annotate(names.error(), "/" + directory.path);
  for (const std::string& name : *names) RETURN_IF_ERROR(compare_entry(directory, name));
  return {};
}

base::Result<void> ContainerChanges::compare_entry(Directory& directory, const std::string& name) {
  const std::string path = directory.path.empty() ? name : directory.path + "/" + name;
  if (std::find(volumes_.begin(), volumes_.end(), path) != volumes_.end())
    return compare_volume(directory, name, path);
  struct stat now {};
  const bool there = fstatat(directory.merged.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0;
  if (!there && errno != ENOENT && errno != ENOTDIR) return base::errno_error("stat /" + path);
  const auto before = directory.lower.find(name);
  if (!before) return annotate(before.error(), "/" + path);
  const Made* made = *before ? nullptr : made_at(path);

  if (!there)
    return *before || made != nullptr ? send_change(directory, name, path, ChangeKind::kDeleted)
                                      : base::Result<void>();
  bool sent = true;
  if (!*before && made == nullptr) {
    RETURN_IF_ERROR(send_change(directory, name, path, ChangeKind::kAdded));
  } else if (*before ? has_changed(directory.merged.get(), name, now, **before)
                     : !is_as_made(*made, now)) {
    RETURN_IF_ERROR(send_change(directory, name, path, ChangeKind::kModified));
  } else if (form_ == ChangesAs::kLayer && *before && !S_ISDIR(now.st_mode) && directory.upper &&
             is_there(directory.upper.get(), name)) {
    // Written again as it was: then Docker's layer has it, too. Or it is there for the sake of its
    // other names, which a layer can only link to what it has.
    RETURN_IF_ERROR(send_change(directory, name, path, ChangeKind::kModified));
  } else {
    sent = false;
  }
  return S_ISDIR(now.st_mode) ? enter(directory, name, path, sent) : base::Result<void>();
}

base::Result<void> ContainerChanges::compare_volume(Directory& directory, const std::string& name,
                                                    const std::string& path) {
  const auto before = directory.lower.find(name);
  if (!before) return annotate(before.error(), "/" + path);
  struct stat now {};
  if (*before || fstatat(directory.merged.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0)
    return {};
  RETURN_IF_ERROR(send_parents(&directory));
  if (form_ == ChangesAs::kList)
    return channel_.send(files::Change{.path = path, .kind = ChangeKind::kAdded});
  // What the container made of it belongs to the volume.
  files::Entry made;
  made.path = path;
  made.kind = files::EntryKind::kDirectory;
  made.mode = 0755;
  made.modified_ns = now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec;
  return channel_.send(made);
}

base::Result<void> ContainerChanges::enter(Directory& directory, const std::string& name,
                                           const std::string& path, bool sent) {
  Directory next;
  if (directory.upper) {
    next.upper = open_directory(directory.upper.get(), name);
    if (!next.upper && (errno == ENOENT || errno == ENOTDIR)) return {};  // nothing is new in it
    if (!next.upper) return base::errno_error("open /" + path);
    if (!is_plain(next.upper.get())) next.upper.reset();
  }
  next.merged = open_directory(directory.merged.get(), name);
  if (!next.merged && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return {};
  if (!next.merged) return base::errno_error("open /" + path);
  auto lower = directory.lower.enter(name);
  if (!lower) return annotate(std::move(lower).error(), "/" + path);
  next.parent = &directory;
  next.path = path;
  next.name = name;
  next.lower = *std::move(lower);
  next.sent = sent;
  next.depth = directory.depth + 1;
  return compare(next);
}

base::Result<void> ContainerChanges::send_parents(Directory* directory) {
  if (directory->sent) return {};
  RETURN_IF_ERROR(send_parents(directory->parent));
  directory->sent = true;
  return send_one(directory->parent->merged.get(), directory->name, directory->path,
                  ChangeKind::kModified);
}

base::Result<void> ContainerChanges::send_change(Directory& directory, const std::string& name,
                                                 const std::string& path, ChangeKind kind) {
  if (form_ == ChangesAs::kLayer && name.starts_with(kWhiteoutMark))
    return base::Error{
        base::Code::kInvalidArgument,
        "an image cannot hold a file whose name begins with \".wh.\": /" + path.substr(0, 256)};
  RETURN_IF_ERROR(send_parents(&directory));
  return send_one(directory.merged.get(), name, path, kind);
}

base::Result<void> ContainerChanges::send_one(int directory, const std::string& name,
                                              const std::string& path, ChangeKind kind) {
  if (form_ == ChangesAs::kList) return channel_.send(files::Change{.path = path, .kind = kind});
  if (kind != ChangeKind::kDeleted) return reader_.send_alone(directory, name, path);
  files::Entry whiteout;
  whiteout.path = path;
  whiteout.kind = files::EntryKind::kWhiteout;
  return channel_.send(whiteout);
}

}  // namespace guest_init
