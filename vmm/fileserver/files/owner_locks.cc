#include "vmm/fileserver/files/owner_locks.h"

#include <fcntl.h>

namespace fileserver {

std::shared_ptr<LockOwner> OwnerLocks::find(std::uint64_t owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = owners_.find(owner);
  return found == owners_.end() ? nullptr : found->second;
}

Answer<std::shared_ptr<LockOwner>> OwnerLocks::find_or_open(std::uint64_t owner, const Open& open) {
  const std::lock_guard lock(mutex_);
  if (const auto found = owners_.find(owner); found != owners_.end()) return found->second;
  auto opened = open();
  if (opened) owners_.emplace(owner, *opened);
  return opened;
}

void OwnerLocks::release(std::uint64_t owner) {
  const std::lock_guard lock(mutex_);
  const auto found = owners_.find(owner);
  if (found == owners_.end()) return;
  // Nobody else finds it while the mutex is held, so that it goes unless somebody uses it already.
  if (found->second.use_count() == 1) {
    owners_.erase(found);
    return;
  }
  struct flock all {};
  all.l_type = F_UNLCK;
  all.l_whence = SEEK_SET;
  ::fcntl(found->second->fd.get(), F_OFD_SETLK, &all);  // taking locks away does not fail
}

}  // namespace fileserver
