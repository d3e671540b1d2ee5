// OwnerLocks: the POSIX record locks that owners of a guest have on one file.
//
// Each owner (of a guest's kernel: the processes that share a table of open files) has an open file
// description of its own, which holds its locks (F_OFD_SETLK, fcntl(2)). So the host's kernel
// compares owners with each other, with those of other guests, and with the host's own processes;
// and closing one does nothing to another's.
//
// Threads: any. Trust: owners are the guest's numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/answer.h"
#include "vmm/fileserver/files/descriptor_budget.h"

namespace fileserver {

struct LockOwner {
  LockOwner(base::UniqueFd opened, DescriptorBudget::Slot counted)
      : fd(std::move(opened)), slot(std::move(counted)) {}

  const base::UniqueFd fd;
  DescriptorBudget::Slot slot;
};

class OwnerLocks {
 public:
  using Open = std::function<Answer<std::shared_ptr<LockOwner>>()>;

  /// Empty if the owner has no locks.
  std::shared_ptr<LockOwner> find(std::uint64_t owner) const;
  Answer<std::shared_ptr<LockOwner>> find_or_open(std::uint64_t owner, const Open& open);

  /// Takes all locks of an owner away. Whatever it waits for goes on waiting.
  void release(std::uint64_t owner);

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<LockOwner>> owners_;
};

}  // namespace fileserver
