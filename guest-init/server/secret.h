// The secret of this machine: what a connection must say to be the host's (protocol/messages.h).
//
// It is in guest-init's memory only. Container processes begin in tasks that share this memory
// (system/shared_task.h), but an execve gives them one of their own before any code of theirs runs,
// and guest-init never forks. Until then nobody in the container can look into a task, as
// guest-init is not dumpable (Server::open).
#pragma once

#include "guest-init/protocol/messages.h"

namespace guest_init {

class MachineSecret {
 public:
  bool is_set() const { return is_set_; }
  void set(const protocol::Secret& secret);
  /// True for everything before set(): then nothing of a tenant runs. Takes equally long for every
  /// `said`.
  bool matches(const protocol::Secret& said) const;

  /// Whether `secret` may be one: not all zero.
  static bool is_valid(const protocol::Secret& secret);

 private:
  protocol::Secret secret_{};
  bool is_set_ = false;
};

}  // namespace guest_init
