// The machine's network: loopback, and eth0, eth1, ... on the virtio devices.
#pragma once

#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/netlink.h"
#include "vmm/base/result.h"

namespace guest_init {

class Network {
 public:
  /// At boot, before anything is mounted: moves guest-init, and with it everything it starts, to a
  /// new network namespace that has loopback and the machine's network cards only. The kernel's
  /// first one has the unremovable devices of every tunnel it knows.
  static base::Result<Network> enter_namespace();

  /// Before the machine is cloned: loopback up, and the cards up (which fills their receive queues)
  /// with IPv6 off on them, so that they stay silent until they have their own addresses. Needs
  /// /proc.
  base::Result<void> bring_up();

  /// Gives the cards what is this clone's own, and takes those away that are not named. kNotFound:
  /// there is no card in a slot; kInvalidArgument: two interfaces for one card, or a bad address.
  /// What is refused changes nothing, but for what the kernel itself refuses.
  base::Result<void> configure(const protocol::ConfigureNetwork& request) const;

 private:
  base::UniqueFd first_namespace_;  // the kernel's
  NetlinkSocket socket_;
  std::vector<unsigned> cards_;  // interface indices, by slot
};

/// Adds what `configure` asks for one interface, of this index. kInvalidArgument for an address
/// that is none.
base::Result<void> add_interface(NetlinkBatch& batch, unsigned index,
                                 const protocol::ConfigureNetwork::Interface& interface);

}  // namespace guest_init
