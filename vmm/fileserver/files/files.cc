// FileSystem: regular files.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "vmm/fileserver/files/file_system.h"
#include "vmm/fileserver/files/host_file.h"
#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

using launch::file_server::Caching;

/// What of a guest's flags the host's file is opened with. O_APPEND is looked at with each write,
/// as the same handle may write back pages of a mapping, in their place. O_DIRECT is left out: the
/// host's page cache is used.
constexpr int kPassedFlags = O_ACCMODE | O_TRUNC | O_NOATIME | O_SYNC | O_DSYNC;

bool changes_the_file(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

Answer<std::size_t> transferred(ssize_t count) {
  if (count < 0) return last_errno();
  return static_cast<std::size_t>(count);
}

}  // namespace

Answer<base::UniqueFd> FileSystem::reopen(int fd, int flags) const {
  base::UniqueFd opened(::openat(descriptors(), DescriptorName(fd).path(), flags | O_CLOEXEC));
  if (!opened) return last_errno();
  return opened;
}

Answer<base::UniqueFd> FileSystem::open_file(const Node& node, int flags) const {
  if (node.type == S_IFDIR) return Errno{EISDIR};
  if (node.type == S_IFLNK) return Errno{ELOOP};
  if (node.type != S_IFREG) return Errno{ENXIO};
  if (!node.tree->read_only) return reopen(node.fd.get(), flags & kPassedFlags);
  if (changes_the_file(flags)) return Errno{EROFS};
  return reopen(node.fd.get(), O_RDONLY | O_NOATIME);
}

Answer<Opened> FileSystem::open(NodeId node, int flags) {
  if (node == kRoot) return Errno{EISDIR};
  auto found = nodes_.find(node);
  if (!found) return found.error();
  auto handle = handles_.add(*found, [&] { return open_file(**found, flags); });
  if (!handle) return handle.error();
  return Opened{*handle, (*found)->tree->caching == Caching::kRelaxed};
}

Answer<Created> FileSystem::create_new(const std::shared_ptr<Node>& parent, const char* name,
                                       mode_t mode, int flags, const Caller& caller) {
  const int wanted = (flags & kPassedFlags & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  base::UniqueFd fd;
  {
    const auto identity = Identity::of(caller);
    if (!identity) return identity.error();
    fd.reset(::openat(parent->fd.get(), name, wanted, mode & 07777));
    if (!fd) return last_errno();
  }
  // What was made is entered, even if the name is another's by now.
  auto same = reopen(fd.get(), O_PATH);
  if (!same) return same.error();
  auto entry = enter(parent->tree, *std::move(same));
  if (!entry) return entry.error();
  auto node = nodes_.find(entry->node);
  auto handle = node
                    ? handles_.add(*node, [&]() -> Answer<base::UniqueFd> { return std::move(fd); })
                    : Answer<HandleId>(node.error());
  if (!handle) {
    forget(entry->node, 1);
    return handle.error();
  }
  return Created{*entry, {*handle, parent->tree->caching == Caching::kRelaxed}};
}

Answer<Created> FileSystem::open_existing(NodeId parent, const char* name, int flags) {
  auto entry = look_up(parent, name);
  if (!entry) return entry.error();
  auto opened = open(entry->node, flags);
  if (opened) return Created{*entry, *opened};
  forget(entry->node, 1);
  const int error = opened.error().value;
  // The guest's kernel took the name for free. It looks again, and finds what it has to do with.
  return Errno{error == ELOOP || error == ENXIO ? ESTALE : error};
}

Answer<Created> FileSystem::create(NodeId parent, const char* name, mode_t mode, int flags,
                                   const Caller& caller) {
  auto directory = find_writable_directory(parent);
  if (!directory) return directory.error();
  auto created = create_new(*directory, name, mode, flags, caller);
  if (created || created.error().value != EEXIST || (flags & O_EXCL) != 0) return created;
  return open_existing(parent, name, flags);
}

Answer<std::size_t> FileSystem::read(NodeId node, HandleId handle, off_t offset,
                                     std::span<char> out) {
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  return transferred(::pread((*open)->fd.get(), out.data(), out.size(), offset));
}

Answer<std::size_t> FileSystem::write(NodeId node, HandleId handle, off_t offset,
                                      std::span<const char> data, int flags) {
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  const iovec part{const_cast<char*>(data.data()), data.size()};
  const int how = (flags & O_APPEND) != 0 ? RWF_APPEND : 0;
  return transferred(::pwritev2((*open)->fd.get(), &part, 1, offset, how));
}

Answer<void> FileSystem::flush(NodeId node, HandleId handle, std::uint64_t owner) {
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  if ((*open)->node == nullptr) return Errno{EBADF};
  (*open)->node->locks.release(owner);
  waits_.poke();
  return {};
}

Answer<void> FileSystem::release(NodeId node, HandleId handle) {
  handles_.release(handle, node);
  waits_.poke();  // of what was locked with flock(2)
  return {};
}

Answer<void> FileSystem::sync(NodeId node, HandleId handle, bool data_only) {
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  const int fd = (*open)->fd.get();
  if (fd < 0) return {};  // the root
  return outcome(data_only ? ::fdatasync(fd) : ::fsync(fd));
}

Answer<void> FileSystem::allocate(NodeId node, HandleId handle, int mode, off_t offset,
                                  off_t length) {
  constexpr int kModes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~kModes) != 0) return Errno{EOPNOTSUPP};
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  return outcome(::fallocate((*open)->fd.get(), mode, offset, length));
}

Answer<off_t> FileSystem::seek(NodeId node, HandleId handle, off_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return Errno{EINVAL};
  auto open = handles_.find(handle, node);
  if (!open) return open.error();
  const off_t found = ::lseek((*open)->fd.get(), offset, whence);
  if (found < 0) return last_errno();
  return found;
}

Answer<std::size_t> FileSystem::copy(NodeId from, HandleId from_handle, off_t from_offset,
                                     NodeId to, HandleId to_handle, off_t to_offset,
                                     std::size_t length) {
  auto source = handles_.find(from_handle, from);
  if (!source) return source.error();
  auto target = handles_.find(to_handle, to);
  if (!target) return target.error();
  return transferred(::copy_file_range((*source)->fd.get(), &from_offset, (*target)->fd.get(),
                                       &to_offset, std::min(length, kMostCopied), 0));
}

}  // namespace fileserver
