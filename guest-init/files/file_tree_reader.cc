#include "guest-init/files/file_tree_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "guest-init/files/file_metadata.h"

namespace guest_init {
namespace {

namespace files = protocol::files;

/// Each level holds a descriptor and a stack frame.
constexpr int kDeepest = 2'000;

std::optional<files::EntryKind> kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return files::EntryKind::kFile;
    case S_IFDIR:
      return files::EntryKind::kDirectory;
    case S_IFLNK:
      return files::EntryKind::kSymbolicLink;
    case S_IFCHR:
      return files::EntryKind::kCharacterDevice;
    case S_IFBLK:
      return files::EntryKind::kBlockDevice;
    case S_IFIFO:
      return files::EntryKind::kFifo;
    default:
      return std::nullopt;  // a socket has no place in an archive
  }
}

files::Entry describe(const struct stat& status, std::string name) {
  files::Entry entry;
  entry.path = std::move(name);
  entry.mode = status.st_mode & 07777;
  entry.user = status.st_uid;
  entry.group = status.st_gid;
  entry.modified_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  return entry;
}

/// Gone, or became something else in this moment: it is left out.
bool vanished(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

}  // namespace

base::Result<void> FileTreeReader::send(const std::string& path, const std::string& name) {
  return send_at(AT_FDCWD, path, name, 0);
}

base::Result<void> FileTreeReader::send_contents_of(const std::string& path) {
  return send_children(AT_FDCWD, path, "", 0);
}

std::vector<files::ExtendedAttribute> FileTreeReader::attributes_of(int fd) const {
  if (attributes_ == Attributes::kAll) return kept_attributes(fd);
  std::vector<std::byte> value = extended_attribute(fd, kCapabilityAttribute);
  if (value.empty()) return {};
  return {{.name = kCapabilityAttribute, .value = std::move(value)}};
}

base::Result<void> FileTreeReader::send_at(int directory, const std::string& file,
                                           const std::string& name, int depth) {
  if (depth > kDeepest)
    return base::Error{base::Code::kResourceExhausted, name.substr(0, 256) + ": nested too deeply"};
  struct stat status {};
  if (fstatat(directory, file.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (vanished(errno) && depth > 0) return {};
    return base::errno_error("stat " + name);
  }
  RETURN_IF_ERROR(send_entry(directory, file, name, status));
  return S_ISDIR(status.st_mode) ? send_children(directory, file, name, depth)
                                 : base::Result<void>();
}

base::Result<void> FileTreeReader::send_alone(int directory, const std::string& file,
                                              const std::string& name) {
  struct stat status {};
  if (fstatat(directory, file.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return send_entry(directory, file, name, status);
  return vanished(errno) ? base::Result<void>() : base::errno_error("stat " + name);
}

base::Result<void> FileTreeReader::send_entry(int directory, const std::string& file,
                                              const std::string& name, const struct stat& status) {
  const auto kind = kind_of(status.st_mode);
  if (!kind) return {};
  files::Entry entry = describe(status, name);
  entry.kind = *kind;
  if (*kind != files::EntryKind::kDirectory && status.st_nlink > 1) {
    const auto [first, is_new] = names_.emplace(Identity{status.st_dev, status.st_ino}, name);
    if (!is_new) {
      entry.kind = files::EntryKind::kHardLink;
      entry.link = first->second;
      return channel_.send(entry);
    }
  }
  switch (entry.kind) {
    case files::EntryKind::kFile: {
      entry.size = static_cast<std::uint64_t>(status.st_size);
      const base::UniqueFd fd(
          openat(directory, file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (!fd && vanished(errno)) return {};
      if (!fd) return base::errno_error("open " + name);
      entry.attributes = attributes_of(fd.get());
      RETURN_IF_ERROR(channel_.send(entry));
      return send_contents(fd.get(), name, entry.size);
    }
    case files::EntryKind::kDirectory:
      if (attributes_ == Attributes::kAll) {
        const base::UniqueFd fd(
            openat(directory, file.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (fd) entry.attributes = attributes_of(fd.get());
      }
      break;
    case files::EntryKind::kSymbolicLink:
      entry.link = link_target(directory, file);
      break;
    case files::EntryKind::kCharacterDevice:
    case files::EntryKind::kBlockDevice:
      entry.device_major = major(status.st_rdev);
      entry.device_minor = minor(status.st_rdev);
      break;
    default:
      break;
  }
  return channel_.send(entry);
}

base::Result<void> FileTreeReader::send_children(int directory, const std::string& file,
                                                 const std::string& name, int depth) {
  base::UniqueFd fd(openat(directory, file.c_str(),
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd && vanished(errno)) return {};
  if (!fd) return base::errno_error("open " + name);
  const int own = fd.get();
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(own), closedir);
  if (!stream) return base::errno_error("read " + name);
  fd.release();
  std::vector<std::string> children;
  while (const dirent* child = readdir(stream.get())) {
    const std::string_view text = child->d_name;
    if (text != "." && text != "..") children.emplace_back(text);
  }
  std::sort(children.begin(), children.end());
  for (const std::string& child : children)
    RETURN_IF_ERROR(send_at(own, child, name.empty() ? child : name + "/" + child, depth + 1));
  return {};
}

base::Result<void> FileTreeReader::send_contents(int fd, const std::string& name,
                                                 std::uint64_t size) {
  files::Data data;
  while (size > 0) {
    data.bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size, files::kDataBytes)));
    const ssize_t got = read(fd, data.bytes.data(), data.bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read " + name);
    if (got > 0) data.bytes.resize(static_cast<std::size_t>(got));
    if (got == 0) std::fill(data.bytes.begin(), data.bytes.end(), std::byte{0});
    RETURN_IF_ERROR(channel_.send(data));
    size -= data.bytes.size();
  }
  return {};
}

}  // namespace guest_init
