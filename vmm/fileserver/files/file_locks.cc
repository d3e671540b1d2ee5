// FileSystem: locks, between guests and with the host's processes.
#include <fcntl.h>
#include <sys/file.h>

#include <optional>
#include <utility>

#include "vmm/fileserver/files/file_system.h"

namespace fileserver {
namespace {

/// As attempts are answered: 0, EAGAIN if somebody else has it, or an error.
int error_of(int returned) {
  if (returned == 0) return 0;
  return errno == EACCES || errno == EWOULDBLOCK ? EAGAIN : errno;
}

int try_range(int fd, struct flock range) {
  range.l_pid = 0;  // else the kernel refuses
  return error_of(::fcntl(fd, F_OFD_SETLK, &range));
}

bool is_whole_file(const struct flock& range) { return range.l_start == 0 && range.l_len == 0; }

}  // namespace

Answer<std::shared_ptr<LockOwner>> FileSystem::open_owner(const Node& node) {
  auto slot = budget_.take();
  if (!slot) return Errno{ENOLCK};
  // A lock for writing needs a descriptor for writing, which not each file can have, such as one of
  // a program that runs. Locks for reading are possible then.
  auto fd = open_file(node, node.tree->read_only ? O_RDONLY : O_RDWR);
  if (!fd) fd = open_file(node, O_RDONLY);
  if (!fd) return fd.error();
  return std::make_shared<LockOwner>(*std::move(fd), *std::move(slot));
}

Answer<void> FileSystem::test_lock(NodeId node, const Lock& lock, struct flock& range) {
  auto open = handles_.find(lock.handle, node);
  if (!open) return open.error();
  if ((*open)->node == nullptr) return Errno{EBADF};
  Node& file = *(*open)->node;
  auto owner = file.locks.find(lock.owner);
  if (owner == nullptr) {
    auto opened = open_owner(file);
    if (!opened) return opened.error();
    owner = *opened;
  }
  range.l_pid = 0;
  if (::fcntl(owner->fd.get(), F_OFD_GETLK, &range) != 0) return last_errno();
  // Open file descriptions have no process (-1), and one of the host is nobody in the guest.
  range.l_pid = 0;
  return {};
}

/// Tries once, and waits if `since` is there; see LockWaits::add().
void FileSystem::wait_for_lock(LockWaits::Wait wait, std::optional<std::uint64_t> since) {
  const int error = wait.attempt();
  if (error != EAGAIN || !since) return wait.answer(error);
  auto answer = wait.answer;
  if (!waits_.add(std::move(wait), *since)) answer(ENOLCK);
}

void FileSystem::lock_range(NodeId node, const Lock& lock, const struct flock& range, bool wait,
                            Answered answered) {
  const auto since = wait ? std::optional(waits_.interruptions()) : std::nullopt;
  auto open = handles_.find(lock.handle, node);
  if (!open) return answered(open.error().value);
  const auto file = (*open)->node;
  if (file == nullptr) return answered(EBADF);
  if (range.l_type == F_UNLCK) {
    int error = 0;
    if (is_whole_file(range)) {
      file->locks.release(lock.owner);
    } else if (const auto owner = file->locks.find(lock.owner)) {
      error = try_range(owner->fd.get(), range);
    }
    waits_.poke();
    return answered(error);
  }
  auto owner = file->locks.find_or_open(lock.owner, [&] { return open_owner(*file); });
  if (!owner) return answered(owner.error().value);
  wait_for_lock(
      {file->tree, [file, owner = *owner, range] { return try_range(owner->fd.get(), range); },
       std::move(answered)},
      since);
}

void FileSystem::lock_file(NodeId node, HandleId handle, int operation, bool wait,
                           Answered answered) {
  const auto since = wait ? std::optional(waits_.interruptions()) : std::nullopt;
  auto open = handles_.find(handle, node);
  if (!open) return answered(open.error().value);
  if ((*open)->node == nullptr) return answered(EBADF);
  if (operation == LOCK_UN) {
    const int error = error_of(::flock((*open)->fd.get(), LOCK_UN));
    waits_.poke();
    return answered(error);
  }
  wait_for_lock(
      {(*open)->node->tree,
       [open = *open, operation] { return error_of(::flock(open->fd.get(), operation | LOCK_NB)); },
       std::move(answered)},
      since);
}

}  // namespace fileserver
