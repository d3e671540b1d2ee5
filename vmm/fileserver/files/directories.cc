// FileSystem: directories.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "vmm/fileserver/files/file_system.h"

namespace fileserver {
namespace {

constexpr std::size_t kMostRead = 32u << 10;
/// An entry of the longest name fits into this.
constexpr std::size_t kLeastRead = 1024;

/// getdents64(2)'s; glibc's dirent64 is the same.
using HostEntry = dirent64;

/// The entry at `at` of `length` bytes that the kernel wrote.
const HostEntry* entry_at(const char* bytes, std::size_t at) {
  return reinterpret_cast<const HostEntry*>(bytes + at);
}

}  // namespace

Answer<Opened> FileSystem::open_directory(NodeId node) {
  if (node == kRoot) {
    auto handle =
        handles_.add(nullptr, []() -> Answer<base::UniqueFd> { return base::UniqueFd(); });
    if (!handle) return handle.error();
    return Opened{*handle, false};
  }
  auto found = find_directory(node);
  if (!found) return found.error();
  const int time = (*found)->tree->read_only ? O_NOATIME : 0;
  auto handle = handles_.add(
      *found, [&] { return reopen((*found)->fd.get(), O_RDONLY | O_DIRECTORY | time); });
  if (!handle) return handle.error();
  return Opened{*handle, false};
}

Answer<void> FileSystem::list_trees(off_t offset, const Put& put) const {
  auto next = static_cast<std::uint64_t>(offset);
  while (const auto tree = trees_.at_or_after(next)) {
    next = std::uint64_t{tree->number} + 1;
    const std::string name = std::to_string(tree->number);
    // What the tree's inode is called is told by looking it up.
    if (!put({name.c_str(), tree->number + kRoot + 1, tree->top.attributes.st_mode & S_IFMT,
              static_cast<off_t>(next)}))
      break;
  }
  return {};
}

Answer<void> FileSystem::list(const Handle& directory, off_t offset, std::size_t room,
                              const Put& put) {
  alignas(HostEntry) std::array<char, kMostRead> bytes;
  const Node& node = *directory.node;
  const bool top = node.is_top();
  const int fd = directory.fd.get();
  const std::size_t portion = std::clamp(room, kLeastRead, kMostRead);
  if (::lseek(fd, offset, SEEK_SET) < 0) return last_errno();
  for (;;) {
    const long length = ::syscall(SYS_getdents64, fd, bytes.data(), portion);
    if (length < 0) return last_errno();
    if (length == 0) return {};
    for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
      const HostEntry& entry = *entry_at(bytes.data(), at);
      at += entry.d_reclen;
      // What is above a tree is nobody's business, not even its number.
      const bool above = top && std::strcmp(entry.d_name, "..") == 0;
      const ino_t inode = nodes_.shown_inode(node.device, above ? node.inode : entry.d_ino);
      if (!put({entry.d_name, inode, static_cast<mode_t>(DTTOIF(entry.d_type)), entry.d_off}))
        return {};
    }
  }
}

Answer<void> FileSystem::read_directory(NodeId node, HandleId handle, off_t offset,
                                        std::size_t room, const Put& put) {
  if (offset < 0) return Errno{EINVAL};
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  if ((*open)->node == nullptr) return list_trees(offset, put);
  if ((*open)->node->type != S_IFDIR) return Errno{ENOTDIR};
  const std::lock_guard lock((*open)->reading);
  return list(**open, offset, room, put);
}

}  // namespace fileserver
