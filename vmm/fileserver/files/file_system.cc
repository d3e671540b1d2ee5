#include "vmm/fileserver/files/file_system.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "vmm/fileserver/files/host_file.h"

namespace fileserver {
namespace {

/// The root: nobody may do anything in it but look.
struct stat root_attributes() {
  struct stat attributes {};
  attributes.st_ino = kRoot;
  attributes.st_mode = S_IFDIR | 0555;
  attributes.st_nlink = 2;
  attributes.st_blksize = 4096;
  return attributes;
}

/// A number as it is listed: without leading zeros.
std::optional<std::uint32_t> tree_number(const char* name) {
  const char* const end = name + std::strlen(name);
  std::uint32_t number = 0;
  const auto parsed = std::from_chars(name, end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  if (name[0] == '0' && name[1] != '\0') return std::nullopt;
  return number;
}

}  // namespace

FileSystem::FileSystem(Settings settings)
    : descriptors_(std::move(settings.descriptors)),
      budget_(settings.most_open),
      nodes_(budget_),
      handles_(budget_) {}

base::Result<void> FileSystem::add_tree(const Trees::Added& added, base::UniqueFd root) {
  return trees_.add(added, std::move(root));
}

void FileSystem::remove_trees(std::uint32_t begin, std::uint32_t end) {
  for (const auto& removed : trees_.remove(begin, end)) {
    nodes_.remove(*removed);
    handles_.remove(*removed);
  }
  waits_.poke();
}

void FileSystem::reset() {
  handles_.clear();
  nodes_.clear();
  waits_.interrupt();  // after that, as who waits for a lock has found its handle before
}

Answer<std::shared_ptr<Node>> FileSystem::find_directory(NodeId node) const {
  // In the root there is nothing that the host has a name for.
  if (node == kRoot) return Errno{EPERM};
  auto found = nodes_.find(node);
  if (found && (*found)->type != S_IFDIR) return Errno{ENOTDIR};
  return found;
}

Answer<std::shared_ptr<Node>> FileSystem::find_writable(NodeId node) const {
  if (node == kRoot) return Errno{EROFS};
  auto found = nodes_.find(node);
  if (found && (*found)->tree->read_only) return Errno{EROFS};
  return found;
}

Answer<std::shared_ptr<Node>> FileSystem::find_writable_directory(NodeId node) const {
  auto found = find_writable(node);
  if (found && (*found)->type != S_IFDIR) return Errno{ENOTDIR};
  return found;
}

Attributes FileSystem::shown(const Tree& tree, const struct stat& found) {
  Attributes attributes{found, tree.attribute_timeout(found.st_mode)};
  attributes.values.st_ino = nodes_.shown_inode(found.st_dev, found.st_ino);
  return attributes;
}

Answer<Entry> FileSystem::enter(const std::shared_ptr<Tree>& tree, base::UniqueFd fd) {
  auto identified = identify(fd.get());
  if (!identified) return identified.error();
  auto node = nodes_.look_up(tree, std::move(fd), *identified);
  if (!node) return node.error();
  return Entry{(*node)->id, shown(*tree, identified->attributes), tree->name_timeout()};
}

Answer<Entry> FileSystem::look_up_tree(const char* name) {
  const auto number = tree_number(name);
  const auto tree = number ? trees_.find(*number) : nullptr;
  if (tree == nullptr) return Errno{ENOENT};
  base::UniqueFd fd(::fcntl(tree->root.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd) return last_errno();
  return enter(tree, std::move(fd));
}

Answer<Entry> FileSystem::look_up_below(const Node& parent, const char* name) {
  auto fd = find_file(parent.fd.get(), name);
  if (!fd) return fd.error();
  return enter(parent.tree, *std::move(fd));
}

Answer<Entry> FileSystem::look_up(NodeId parent, const char* name) {
  if (parent == kRoot) return look_up_tree(name);
  auto directory = find_directory(parent);
  if (!directory) return directory.error();
  return look_up_below(**directory, name);
}

void FileSystem::forget(NodeId node, std::uint64_t lookups) { nodes_.forget(node, lookups); }

template <typename Make>
Answer<Entry> FileSystem::make(NodeId parent, const Caller& caller, const char* name, Make make) {
  auto directory = find_writable_directory(parent);
  if (!directory) return directory.error();
  {
    const auto identity = Identity::of(caller);
    if (!identity) return identity.error();
    if (make((*directory)->fd.get()) != 0) return last_errno();
  }
  return look_up_below(**directory, name);
}

Answer<Entry> FileSystem::make_node(NodeId parent, const char* name, mode_t mode, dev_t device,
                                    const Caller& caller) {
  const mode_t type = mode & S_IFMT;
  const bool whiteout = type == S_IFCHR && device == 0;
  if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && !whiteout) return Errno{EPERM};
  return make(parent, caller, name,
              [&](int directory) { return ::mknodat(directory, name, mode, 0); });
}

Answer<Entry> FileSystem::make_directory(NodeId parent, const char* name, mode_t mode,
                                         const Caller& caller) {
  return make(parent, caller, name,
              [&](int directory) { return ::mkdirat(directory, name, mode & 07777); });
}

Answer<Entry> FileSystem::make_link(NodeId parent, const char* name, const char* target,
                                    const Caller& caller) {
  return make(parent, caller, name,
              [&](int directory) { return ::symlinkat(target, directory, name); });
}

Answer<Entry> FileSystem::link(NodeId node, NodeId parent, const char* name) {
  auto directory = find_writable_directory(parent);
  if (!directory) return directory.error();
  auto file = find_writable(node);
  if (!file) return file.error();
  if ((*file)->tree != (*directory)->tree) return Errno{EXDEV};
  const DescriptorName from((*file)->fd.get());
  if (::linkat(descriptors(), from.path(), (*directory)->fd.get(), name, AT_SYMLINK_FOLLOW) != 0)
    return last_errno();
  return look_up_below(**directory, name);
}

Answer<void> FileSystem::unlink(NodeId parent, const char* name) {
  auto directory = find_writable_directory(parent);
  if (!directory) return directory.error();
  return outcome(::unlinkat((*directory)->fd.get(), name, 0));
}

Answer<void> FileSystem::remove_directory(NodeId parent, const char* name) {
  auto directory = find_writable_directory(parent);
  if (!directory) return directory.error();
  return outcome(::unlinkat((*directory)->fd.get(), name, AT_REMOVEDIR));
}

Answer<void> FileSystem::rename(NodeId parent, const char* name, NodeId new_parent,
                                const char* new_name, unsigned flags, const Caller& caller) {
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT}) != 0)
    return Errno{EINVAL};
  auto from = find_writable_directory(parent);
  if (!from) return from.error();
  auto to = find_writable_directory(new_parent);
  if (!to) return to.error();
  if ((*from)->tree != (*to)->tree) return Errno{EXDEV};
  const auto identity = Identity::of(caller);  // a whiteout is somebody's
  if (!identity) return identity.error();
  // Not glibc's renameat2(), which makes another call of it if there are no flags.
  return outcome(static_cast<int>(
      ::syscall(SYS_renameat2, (*from)->fd.get(), name, (*to)->fd.get(), new_name, flags)));
}

Answer<Attributes> FileSystem::attributes(NodeId node, std::optional<HandleId> handle) {
  if (node == kRoot) return Attributes{root_attributes(), 0};
  auto found = nodes_.find(node);
  if (!found) return found.error();
  // The node's descriptor is the same file; a handle is checked only, as its number may be wrong.
  if (handle) {
    if (auto open = handles_.find(*handle, node); !open) return open.error();
  }
  auto identified = identify((*found)->fd.get());
  if (!identified) return identified.error();
  return shown(*(*found)->tree, identified->attributes);
}

}  // namespace fileserver
