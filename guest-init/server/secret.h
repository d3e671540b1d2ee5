// MachineSecret: what a connection must say to count as the host's (protocol/messages.h).
//
// The secret is in guest-init's memory only. Container processes begin in tasks that share this
// memory (system/shared_task.h), but an execve gives each its own memory before any of its code
// runs, and guest-init never forks. Until the execve nobody in the container can look into a task,
// as guest-init is not dumpable (Server::open).
#pragma once

#include "guest-init/protocol/messages.h"

namespace guest_init {

class MachineSecret {
 public:
  bool is_set() const { return is_set_; }
  void set(const protocol::Secret& secret);
  /// Whether `said` is the secret. Before set() everything is: nothing of a tenant runs then. Takes
  /// equally long for every `said`.
  bool matches(const protocol::Secret& said) const;

  /// Whether `secret` may be one: not all zero.
  static bool is_valid(const protocol::Secret& secret);

 private:
  protocol::Secret secret_{};
  bool is_set_ = false;
};

}  // namespace guest_init
