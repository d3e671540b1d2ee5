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

  /// Gives the cards this clone's own addresses, and takes the cards away that `request` does not
  /// name. kNotFound: a slot has no card; kInvalidArgument: two interfaces for one card, or a bad
  /// address. Both are found before anything is changed. If the kernel refuses one step, the others
  /// stay done. A card that was taken away does not come back: it is missing from then on.
  base::Result<void> configure(const protocol::ConfigureNetwork& request);

 private:
  base::UniqueFd first_namespace_;  // the kernel's
  NetlinkSocket socket_;
  std::vector<unsigned> cards_;  // interface indices, by slot; 0: taken away
};

/// Brings up the loopback of the calling task's network namespace, which may be another than
/// guest-init's.
base::Result<void> bring_up_loopback();

/// Adds to `batch` what Network::configure() needs for one interface, the kernel's number `index`.
/// kInvalidArgument: the address or the gateway is no IPv4 address.
base::Result<void> add_interface(NetlinkBatch& batch, unsigned index,
                                 const protocol::ConfigureNetwork::Interface& interface);

}  // namespace guest_init
