// Caller: who asks, and becoming it for as long as something is made, so that it belongs to it from
// the moment it appears.
//
// Threads: identity is the calling thread's own (setfsuid(2)). The thread has been prepared by
// prepare_thread().
// Trust: the guest's kernel says who asks, and has asked whether that one may; what the guest's
// users may do in a tree is its affair. Capabilities stay as they are, so that the host's kernel
// does not ask again: it does not know the caller's other groups.
#pragma once

#include <sys/types.h>

#include "vmm/base/result.h"
#include "vmm/fileserver/files/answer.h"

namespace fileserver {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t umask = 0;
};

/// Makes the calling thread one that can serve: its working directory, which it has for itself, is
/// `descriptors`, a directory like /proc/self/fd; its umask is 0; changing its file system identity
/// leaves it its capabilities.
base::Result<void> prepare_thread(int descriptors);

class Identity {
 public:
  /// EPERM: the thread could not become the caller.
  static Answer<Identity> of(const Caller& caller);

  Identity(Identity&& other) noexcept;
  Identity& operator=(Identity&&) = delete;
  /// Whatever has happened meanwhile, the thread is itself again.
  ~Identity();

 private:
  Identity() = default;

  bool taken_ = true;
};

}  // namespace fileserver
