#include "vmm/fileserver/files/handle_table.h"

#include <vector>

namespace fileserver {

Answer<std::uint64_t> HandleTable::insert(std::shared_ptr<Handle> handle) {
  const std::lock_guard lock(mutex_);
  if (handle->node != nullptr && handle->node->tree->removed) return Errno{ESTALE};
  const std::uint64_t number = next_++;
  handles_.emplace(number, std::move(handle));
  return number;
}

HandleTable::Handles::const_iterator HandleTable::look(std::uint64_t number,
                                                       std::uint64_t node) const {
  const auto found = handles_.find(number);
  if (found == handles_.end()) return found;
  const Node* const of = found->second->node.get();
  return (of == nullptr ? kRoot : of->id) == node ? found : handles_.end();
}

Answer<std::shared_ptr<Handle>> HandleTable::find(std::uint64_t number, std::uint64_t node) const {
  const std::lock_guard lock(mutex_);
  const auto found = look(number, node);
  if (found == handles_.end()) return Errno{EBADF};
  return found->second;
}

void HandleTable::release(std::uint64_t number, std::uint64_t node) {
  std::shared_ptr<Handle> last;  // closed after the lock has been given back
  const std::lock_guard lock(mutex_);
  const auto found = look(number, node);
  if (found == handles_.end()) return;
  last = found->second;
  handles_.erase(found);
}

void HandleTable::remove(const Tree& tree) {
  std::vector<std::shared_ptr<Handle>> removed;
  const std::lock_guard lock(mutex_);
  for (auto it = handles_.begin(); it != handles_.end();) {
    const auto next = std::next(it);
    const Node* const node = it->second->node.get();
    if (node != nullptr && node->tree.get() == &tree) {
      removed.push_back(std::move(it->second));
      handles_.erase(it);
    }
    it = next;
  }
}

void HandleTable::clear() {
  Handles removed;
  const std::lock_guard lock(mutex_);
  removed.swap(handles_);
}

}  // namespace fileserver
