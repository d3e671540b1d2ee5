// HandleTable: the files and directories that the guest has open, by the numbers it was given.
//
// Threads: any. Ownership: a request that holds a handle keeps its descriptor open; the table holds
// it until it is released, or its tree is removed. A number is never used twice.
// Trust: numbers are the guest's, and are taken with the node that they were given for only.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/answer.h"
#include "vmm/fileserver/files/descriptor_budget.h"
#include "vmm/fileserver/files/node_table.h"

namespace fileserver {

struct Handle {
  Handle(std::shared_ptr<Node> of, base::UniqueFd opened, DescriptorBudget::Slot counted)
      : node(std::move(of)), fd(std::move(opened)), slot(std::move(counted)) {}

  const std::shared_ptr<Node> node;  // empty for the root
  const base::UniqueFd fd;           // not for the root
  DescriptorBudget::Slot slot;
  std::mutex reading;  // of a directory: its descriptor has a position
};

class HandleTable {
 public:
  explicit HandleTable(DescriptorBudget& budget) : budget_(budget) {}

  /// Opens what `open` opens and returns its number. EMFILE: the guest has as many as it may.
  template <typename Open>
  Answer<std::uint64_t> add(std::shared_ptr<Node> node, Open open) {
    auto slot = budget_.take();
    if (!slot) return Errno{EMFILE};
    Answer<base::UniqueFd> fd = open();
    if (!fd) return fd.error();
    return insert(std::make_shared<Handle>(std::move(node), *std::move(fd), *std::move(slot)));
  }

  /// EBADF: `node` has no such handle.
  Answer<std::shared_ptr<Handle>> find(std::uint64_t number, std::uint64_t node) const;
  void release(std::uint64_t number, std::uint64_t node);

  void remove(const Tree& tree);
  void clear();

 private:
  using Handles = std::unordered_map<std::uint64_t, std::shared_ptr<Handle>>;

  Answer<std::uint64_t> insert(std::shared_ptr<Handle> handle);
  Handles::const_iterator look(std::uint64_t number, std::uint64_t node) const;

  DescriptorBudget& budget_;
  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  Handles handles_;
};

}  // namespace fileserver
