// NodeTable: the files and directories that the guest knows, by its node IDs.
//
// A node is one file of the host: mount, device and inode within a tree. Its descriptor keeps the
// inode from being used for another file, and a node ID is never used twice, so the guest cannot
// take one file for another; FUSE's generation numbers have nothing to tell apart and are zero.
//
// Threads: any. Ownership: whoever holds a node keeps its descriptor open; the table holds it until
// the guest has forgotten it as often as it has looked it up, or its tree is removed.
// Trust: node IDs and counts are the guest's.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/answer.h"
#include "vmm/fileserver/files/descriptor_budget.h"
#include "vmm/fileserver/files/owner_locks.h"
#include "vmm/fileserver/files/tree.h"

namespace fileserver {

struct Node {
  Node(std::uint64_t number, std::shared_ptr<Tree> of_tree, base::UniqueFd opened,
       const Identified& identified, DescriptorBudget::Slot counted)
      : id(number),
        tree(std::move(of_tree)),
        fd(std::move(opened)),
        type(identified.attributes.st_mode & S_IFMT),
        mount(identified.mount),
        device(identified.attributes.st_dev),
        inode(identified.attributes.st_ino),
        slot(std::move(counted)) {}

  /// The tree's own directory or file, and not one below.
  bool is_top() const {
    return mount == tree->top.mount && device == tree->top.attributes.st_dev &&
           inode == tree->top.attributes.st_ino;
  }

  const std::uint64_t id;
  const std::shared_ptr<Tree> tree;
  const base::UniqueFd fd;  // O_PATH
  const mode_t type;        // S_IFMT's
  const std::uint64_t mount;
  const dev_t device;
  const ino_t inode;
  OwnerLocks locks;
  DescriptorBudget::Slot slot;
};

/// The node ID of the root, which is no node.
inline constexpr std::uint64_t kRoot = 1;

class NodeTable {
 public:
  explicit NodeTable(DescriptorBudget& budget) : budget_(budget) {}

  /// Counts one lookup of the file that `fd` (O_PATH) is. ENFILE: the guest knows as many as it
  /// may; ESTALE: the tree has been removed.
  Answer<std::shared_ptr<Node>> look_up(const std::shared_ptr<Tree>& tree, base::UniqueFd fd,
                                        const Identified& identified);

  /// ESTALE: the guest does not know such a node, or not any more.
  Answer<std::shared_ptr<Node>> find(std::uint64_t id) const;

  void forget(std::uint64_t id, std::uint64_t lookups);
  void remove(const Tree& tree);
  void clear();

  /// The inode number that the guest is shown: the host's, but for files that are on another device
  /// than the first that was seen, as all of a guest's nodes are on one.
  ino_t shown_inode(dev_t device, ino_t inode);

 private:
  using Key = std::tuple<const Tree*, std::uint64_t, dev_t, ino_t>;
  struct Known {
    std::shared_ptr<Node> node;
    std::uint64_t lookups = 0;
  };
  using KnownNodes = std::unordered_map<std::uint64_t, Known>;

  static Key key_of(const Node& node);
  std::shared_ptr<Node> count_lookup(const Key& key);
  /// Takes a node out; its descriptor is closed when the last one that holds it is gone.
  std::shared_ptr<Node> take_out(KnownNodes::iterator known);

  DescriptorBudget& budget_;
  mutable std::mutex mutex_;
  std::uint64_t next_id_ = kRoot + 1;
  KnownNodes nodes_;
  std::map<Key, std::uint64_t> ids_;
  std::map<dev_t, std::uint64_t> devices_;
};

}  // namespace fileserver
