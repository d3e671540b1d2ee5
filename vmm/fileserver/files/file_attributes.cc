// FileSystem: what a file has beside its content.
#include <fcntl.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "vmm/fileserver/files/attribute_names.h"
#include "vmm/fileserver/files/file_system.h"
#include "vmm/fileserver/files/host_file.h"
#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

constexpr auto kUnchanged = static_cast<uid_t>(-1);

Answer<void> change_owner(const Node& node, const Changes& changes) {
  if (!changes.uid && !changes.gid) return {};
  if (changes.uid == kUnchanged || changes.gid == kUnchanged) return Errno{EINVAL};
  return outcome(::fchownat(node.fd.get(), "", changes.uid.value_or(kUnchanged),
                            changes.gid.value_or(kUnchanged), AT_EMPTY_PATH));
}

Answer<void> change_mode(const Node& node, const Changes& changes) {
  if (!changes.mode) return {};
  if (node.type == S_IFLNK) return Errno{EOPNOTSUPP};
  return outcome(
      ::fchmodat(AT_FDCWD, DescriptorName(node.fd.get()).path(), *changes.mode & 07777, 0));
}

/// An attribute's value or a list of names. `read` is called with a buffer of at most 64 KiB.
template <typename Read>
Answer<std::string> read_attribute(std::size_t room, Read read) {
  std::string value(room, '\0');
  const ssize_t length = read(value.data(), value.size());
  if (length < 0) return last_errno();
  value.resize(static_cast<std::size_t>(length));
  return value;
}

}  // namespace

Answer<void> FileSystem::change_times(const Node& node, const Changes& changes) {
  if (changes.accessed.tv_nsec == UTIME_OMIT && changes.modified.tv_nsec == UTIME_OMIT) return {};
  const timespec times[] = {changes.accessed, changes.modified};
  return outcome(::utimensat(AT_FDCWD, DescriptorName(node.fd.get()).path(), times, 0));
}

Answer<void> FileSystem::change_size(const Node& node, std::optional<HandleId> handle, off_t size) {
  if (size < 0) return Errno{EINVAL};
  if (node.type != S_IFREG) return Errno{node.type == S_IFDIR ? EISDIR : EINVAL};
  if (handle) {
    auto open = handles_.find(*handle, node.id);
    if (!open) return open.error();
    return outcome(::ftruncate((*open)->fd.get(), size));
  }
  auto fd = reopen(node.fd.get(), O_WRONLY);
  if (!fd) return fd.error();
  return outcome(::ftruncate(fd->get(), size));
}

Answer<Attributes> FileSystem::change(NodeId node, std::optional<HandleId> handle,
                                      const Changes& changes) {
  auto found = find_writable(node);
  if (!found) return found.error();
  // The mode comes after the owner, as a change of owner takes set-user-ID bits off.
  if (auto changed = change_owner(**found, changes); !changed) return changed.error();
  if (auto changed = change_mode(**found, changes); !changed) return changed.error();
  if (changes.size) {
    if (auto changed = change_size(**found, handle, *changes.size); !changed)
      return changed.error();
  }
  if (auto changed = change_times(**found, changes); !changed) return changed.error();
  return attributes(node, std::nullopt);
}

Answer<std::string> FileSystem::read_link(NodeId node) {
  if (node == kRoot) return Errno{EINVAL};
  auto found = nodes_.find(node);
  if (!found) return found.error();
  if ((*found)->type != S_IFLNK) return Errno{EINVAL};
  return read_attribute(kLongestTarget + 1, [&](char* out, std::size_t size) {
    return ::readlinkat((*found)->fd.get(), "", out, size);
  });
}

Answer<struct statvfs> FileSystem::statistics(NodeId node) {
  struct statvfs statistics {};
  statistics.f_namemax = kLongestName;
  statistics.f_bsize = statistics.f_frsize = 4096;
  if (node == kRoot) return statistics;
  auto found = nodes_.find(node);
  if (!found) return found.error();
  if (::fstatvfs((*found)->fd.get(), &statistics) != 0) return last_errno();
  return statistics;
}

// Attributes are read and set by path: there is no call that takes a descriptor opened with O_PATH.

Answer<void> FileSystem::set_attribute(NodeId node, const char* name, std::span<const char> value,
                                       int flags) {
  auto found = find_writable(node);
  if (!found) return found.error();
  auto host_name = host_attribute(name);
  if (!host_name) return host_name.error();
  return outcome(::setxattr(DescriptorName((*found)->fd.get()).path(), host_name->c_str(),
                            value.data(), value.size(), flags));
}

Answer<std::string> FileSystem::attribute(NodeId node, const char* name, std::size_t size) {
  if (node == kRoot) return Errno{ENODATA};
  auto found = nodes_.find(node);
  if (!found) return found.error();
  auto host_name = host_attribute(name);
  if (!host_name) return Errno{ENODATA};
  const DescriptorName file((*found)->fd.get());
  if (size == 0) {
    const ssize_t length = ::getxattr(file.path(), host_name->c_str(), nullptr, 0);
    if (length < 0) return last_errno();
    return std::string(static_cast<std::size_t>(length), '\0');
  }
  return read_attribute(std::min(size, kLargestAttribute), [&](char* out, std::size_t room) {
    return ::getxattr(file.path(), host_name->c_str(), out, room);
  });
}

Answer<std::string> FileSystem::attribute_list(NodeId node, std::size_t size) {
  if (node == kRoot) return std::string();
  auto found = nodes_.find(node);
  if (!found) return found.error();
  // The host's names are longer and more than the guest's, so all of them are read.
  auto names = read_attribute(kLargestAttribute, [&](char* out, std::size_t room) {
    return ::listxattr(DescriptorName((*found)->fd.get()).path(), out, room);
  });
  if (!names) return names.error();
  std::string shown = guest_attributes(*names);
  if (size != 0 && shown.size() > size) return Errno{ERANGE};
  return shown;
}

Answer<void> FileSystem::remove_attribute(NodeId node, const char* name) {
  auto found = find_writable(node);
  if (!found) return found.error();
  auto host_name = host_attribute(name);
  if (!host_name) return Errno{ENODATA};
  return outcome(::removexattr(DescriptorName((*found)->fd.get()).path(), host_name->c_str()));
}

}  // namespace fileserver
