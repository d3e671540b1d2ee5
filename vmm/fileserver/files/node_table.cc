#include "vmm/fileserver/files/node_table.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace fileserver {
namespace {

/// Inode numbers of the file systems that are used are below this; the device's number is above.
constexpr unsigned kInodeBits = 48;
constexpr std::uint64_t kMostDevices = 1u << 15;

}  // namespace

NodeTable::Key NodeTable::key_of(const Node& node) {
  return {node.tree.get(), node.mount, node.device, node.inode};
}

std::shared_ptr<Node> NodeTable::count_lookup(const Key& key) {
  const auto id = ids_.find(key);
  if (id == ids_.end()) return nullptr;
  Known& known = nodes_.at(id->second);
  ++known.lookups;
  return known.node;
}

Answer<std::shared_ptr<Node>> NodeTable::look_up(const std::shared_ptr<Tree>& tree,
                                                 base::UniqueFd fd, const Identified& identified) {
  const Key key{tree.get(), identified.mount, identified.attributes.st_dev,
                identified.attributes.st_ino};
  const std::lock_guard lock(mutex_);
  if (tree->removed) return Errno{ESTALE};
  if (auto node = count_lookup(key)) return node;
  auto slot = budget_.take();
  if (!slot) return Errno{ENFILE};
  auto node = std::make_shared<Node>(next_id_++, tree, std::move(fd), identified, *std::move(slot));
  ids_.emplace(key, node->id);
  nodes_.emplace(node->id, Known{node, 1});
  return node;
}

Answer<std::shared_ptr<Node>> NodeTable::find(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto known = nodes_.find(id);
  if (known == nodes_.end()) return Errno{ESTALE};
  return known->second.node;
}

std::shared_ptr<Node> NodeTable::take_out(KnownNodes::iterator known) {
  auto node = std::move(known->second.node);
  ids_.erase(key_of(*node));
  nodes_.erase(known);
  return node;
}

void NodeTable::forget(std::uint64_t id, std::uint64_t lookups) {
  std::shared_ptr<Node> last;  // closed after the lock has been given back
  const std::lock_guard lock(mutex_);
  const auto known = nodes_.find(id);
  if (known == nodes_.end()) return;
  known->second.lookups -= std::min(lookups, known->second.lookups);
  if (known->second.lookups == 0) last = take_out(known);
}

void NodeTable::remove(const Tree& tree) {
  std::vector<std::shared_ptr<Node>> removed;
  const std::lock_guard lock(mutex_);
  for (auto known = nodes_.begin(); known != nodes_.end();) {
    const auto next = std::next(known);
    if (known->second.node->tree.get() == &tree) removed.push_back(take_out(known));
    known = next;
  }
}

void NodeTable::clear() {
  KnownNodes removed;
  const std::lock_guard lock(mutex_);
  removed.swap(nodes_);
  ids_.clear();
}

ino_t NodeTable::shown_inode(dev_t device, ino_t inode) {
  const std::lock_guard lock(mutex_);
  auto number = devices_.find(device);
  if (number == devices_.end()) {
    if (devices_.size() >= kMostDevices) return inode;
    number = devices_.emplace(device, devices_.size()).first;
  }
  return inode ^ (number->second << kInodeBits);
}

}  // namespace fileserver
