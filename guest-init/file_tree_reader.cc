#include "guest-init/file_tree_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace guest_init {
namespace {

namespace files = protocol::files;

/// Each level holds a descriptor and a stack frame.
constexpr int kDeepest = 2'000;
constexpr const char* kCapability = "security.capability";
constexpr std::size_t kLargestAttribute = 64u << 10;  // XATTR_SIZE_MAX, and XATTR_LIST_MAX

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

std::string link_at(int directory, const std::string& file) {
  std::array<char, 4096> target{};
  const ssize_t size = readlinkat(directory, file.c_str(), target.data(), target.size());
  return size < 0 ? std::string() : std::string(target.data(), static_cast<std::size_t>(size));
}

/// What belongs to the file wherever it goes, not to this file system or kernel.
bool is_kept(std::string_view name) {
  return name == kCapability || name.starts_with("user.") || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

/// Empty: none, or gone in this moment.
std::vector<std::byte> attribute_of(int fd, const char* name) {
  std::vector<std::byte> value(kLargestAttribute);
  const ssize_t size = fgetxattr(fd, name, value.data(), value.size());
  value.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return value;
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
  std::vector<files::ExtendedAttribute> attributes;
  const auto add = [&](const char* name) {
    std::vector<std::byte> value = attribute_of(fd, name);
    if (!value.empty()) attributes.push_back({.name = name, .value = std::move(value)});
  };
  if (attributes_ == Attributes::kCapability) {
    add(kCapability);
    return attributes;
  }
  std::string names(kLargestAttribute, '\0');
  const ssize_t size = flistxattr(fd, names.data(), names.size());
  names.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  for (std::size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1)
    if (is_kept(names.c_str() + at)) add(names.c_str() + at);
  return attributes;
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
      entry.link = link_at(directory, file);
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
