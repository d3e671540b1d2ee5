// FileSystem: what a guest may do with its trees: every operation of FUSE, on files of the host.
//
// No operation follows a symbolic link or goes above a tree: a name is one component, which
// request_check.h has seen; the host's file is found with O_PATH | O_NOFOLLOW below a node's
// descriptor; and what is opened is opened again from its descriptor, if it is a regular file or a
// directory. Sockets, FIFOs and devices are never opened.
//
// Threads: any that prepare_thread() has prepared, and the one that runs waits(). Operations hold
// no lock while they wait for a file system, so a slow one stops no other.
// Trust: node IDs, handles, names, offsets, sizes and flags are the guest's. Who may do what is
// asked by the guest's kernel (default_permissions); trees that are read-only refuse changes here
// (EROFS).
// Errors: the host's, and what is said at each operation; ESTALE for a node that is not known,
// EBADF for a handle that is not the node's.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/answer.h"
#include "vmm/fileserver/files/caller.h"
#include "vmm/fileserver/files/descriptor_budget.h"
#include "vmm/fileserver/files/handle_table.h"
#include "vmm/fileserver/files/lock_waits.h"
#include "vmm/fileserver/files/node_table.h"
#include "vmm/fileserver/files/tree.h"

struct flock;

namespace fileserver {

using NodeId = std::uint64_t;
using HandleId = std::uint64_t;

/// Both times, in seconds, say how long the guest may believe what it was told.
struct Attributes {
  struct stat values {};
  double timeout = 0;
};

/// A name that was looked up; it counts as one lookup of its node.
struct Entry {
  NodeId node = 0;
  Attributes attributes;
  double timeout = 0;  // of the name
};

struct Opened {
  HandleId handle = 0;
  bool keep_cache = false;
};

struct Created {
  Entry entry;
  Opened opened;
};

/// What is to be changed; the rest stays.
struct Changes {
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<off_t> size;
  /// UTIME_OMIT, UTIME_NOW or a time.
  timespec accessed{0, UTIME_OMIT};
  timespec modified{0, UTIME_OMIT};
};

/// One entry of a directory, as readdir(3) gives it.
struct DirectoryEntry {
  const char* name = nullptr;  // with its NUL
  ino_t inode = 0;
  mode_t type = 0;  // S_IFMT's
  off_t next = 0;   // where to go on after it
};

struct Lock {
  HandleId handle = 0;
  std::uint64_t owner = 0;
};

class FileSystem {
 public:
  struct Settings {
    /// /proc/self/fd, opened with O_PATH. The file system keeps it.
    base::UniqueFd descriptors;
    /// How many nodes, handles and owners of locks there may be.
    std::size_t most_open = 0;
  };

  explicit FileSystem(Settings settings);

  // What the daemon asks for; see launch/file_server.h.
  base::Result<void> add_tree(const Trees::Added& added, base::UniqueFd root);
  void remove_trees(std::uint32_t begin, std::uint32_t end);
  LockWaits& waits() { return waits_; }

  /// A session begins or ends: forgets nodes, handles and locks; what waits gets EINTR.
  void reset();
  /// The directory that prepare_thread() needs.
  int descriptors() const { return descriptors_.get(); }

  // Names.
  Answer<Entry> look_up(NodeId parent, const char* name);
  void forget(NodeId node, std::uint64_t lookups);
  Answer<Entry> make_node(NodeId parent, const char* name, mode_t mode, dev_t device,
                          const Caller& caller);
  Answer<Entry> make_directory(NodeId parent, const char* name, mode_t mode, const Caller& caller);
  Answer<Entry> make_link(NodeId parent, const char* name, const char* target,
                          const Caller& caller);
  Answer<Entry> link(NodeId node, NodeId parent, const char* name);
  Answer<void> unlink(NodeId parent, const char* name);
  Answer<void> remove_directory(NodeId parent, const char* name);
  /// EINVAL: other flags than renameat2(2)'s NOREPLACE, EXCHANGE and WHITEOUT.
  Answer<void> rename(NodeId parent, const char* name, NodeId new_parent, const char* new_name,
                      unsigned flags, const Caller& caller);

  // Attributes.
  Answer<Attributes> attributes(NodeId node, std::optional<HandleId> handle);
  Answer<Attributes> change(NodeId node, std::optional<HandleId> handle, const Changes& changes);
  Answer<std::string> read_link(NodeId node);
  Answer<struct statvfs> statistics(NodeId node);
  Answer<void> set_attribute(NodeId node, const char* name, std::span<const char> value, int flags);
  /// The value, if it fits into `size` bytes; else ERANGE. With a size of 0 the answer is as long
  /// as the value, and nothing else is to be read in it.
  Answer<std::string> attribute(NodeId node, const char* name, std::size_t size);
  Answer<std::string> attribute_list(NodeId node, std::size_t size);
  Answer<void> remove_attribute(NodeId node, const char* name);

  // Files. Flags are open(2)'s.
  Answer<Created> create(NodeId parent, const char* name, mode_t mode, int flags,
                         const Caller& caller);
  Answer<Opened> open(NodeId node, int flags);
  Answer<std::size_t> read(NodeId node, HandleId handle, off_t offset, std::span<char> out);
  /// `flags` are those that the guest's file has now; of a page that is written back, none count.
  Answer<std::size_t> write(NodeId node, HandleId handle, off_t offset, std::span<const char> data,
                            int flags);
  Answer<void> flush(NodeId node, HandleId handle, std::uint64_t owner);
  Answer<void> release(NodeId node, HandleId handle);
  Answer<void> sync(NodeId node, HandleId handle, bool data_only);
  Answer<void> allocate(NodeId node, HandleId handle, int mode, off_t offset, off_t length);
  /// EINVAL: another whence than SEEK_DATA or SEEK_HOLE.
  Answer<off_t> seek(NodeId node, HandleId handle, off_t offset, int whence);
  Answer<std::size_t> copy(NodeId from, HandleId from_handle, off_t from_offset, NodeId to,
                           HandleId to_handle, off_t to_offset, std::size_t length);

  // Directories.
  Answer<Opened> open_directory(NodeId node);
  /// Gives entries from `offset` on to `put` until it returns false. `room` is about as many bytes
  /// as it takes.
  using Put = std::function<bool(const DirectoryEntry&)>;
  Answer<void> read_directory(NodeId node, HandleId handle, off_t offset, std::size_t room,
                              const Put& put);

  // Locks. Record locks are fcntl(2)'s, the others flock(2)'s.
  /// The lock that is in the way, or F_UNLCK.
  Answer<void> test_lock(NodeId node, const Lock& lock, struct flock& range);
  using Answered = std::function<void(int error)>;
  /// Calls `answered` once: now, or when it has waited. ENOLCK: too many wait.
  void lock_range(NodeId node, const Lock& lock, const struct flock& range, bool wait,
                  Answered answered);
  void lock_file(NodeId node, HandleId handle, int operation, bool wait, Answered answered);

 private:
  Answer<std::shared_ptr<Node>> find_directory(NodeId node) const;
  /// Like find(), and the tree may be written to.
  Answer<std::shared_ptr<Node>> find_writable(NodeId node) const;
  Answer<std::shared_ptr<Node>> find_writable_directory(NodeId node) const;

  Answer<Entry> look_up_tree(const char* name);
  Answer<Entry> look_up_below(const Node& parent, const char* name);
  Answer<Entry> enter(const std::shared_ptr<Tree>& tree, base::UniqueFd fd);
  /// Calls `make`, a system call that makes `name`, as the caller, and looks it up.
  template <typename Make>
  Answer<Entry> make(NodeId parent, const Caller& caller, const char* name, Make make);

  Attributes shown(const Tree& tree, const struct stat& found);
  Answer<void> change_times(const Node& node, const Changes& changes);
  Answer<void> change_size(const Node& node, std::optional<HandleId> handle, off_t size);

  Answer<base::UniqueFd> reopen(int fd, int flags) const;
  Answer<base::UniqueFd> open_file(const Node& node, int flags) const;
  Answer<Created> create_new(const std::shared_ptr<Node>& parent, const char* name, mode_t mode,
                             int flags, const Caller& caller);
  Answer<Created> open_existing(NodeId parent, const char* name, int flags);

  Answer<void> list_trees(off_t offset, const Put& put) const;
  Answer<void> list(const Handle& directory, off_t offset, std::size_t room, const Put& put);

  Answer<std::shared_ptr<LockOwner>> open_owner(const Node& node);
  void wait_for_lock(LockWaits::Wait wait, std::optional<std::uint64_t> since);

  const base::UniqueFd descriptors_;
  DescriptorBudget budget_;
  Trees trees_;
  NodeTable nodes_;
  HandleTable handles_;
  LockWaits waits_;
};

}  // namespace fileserver
