// The machine's network: loopback, and eth0 on the virtio device.
#pragma once

#include <string>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/netlink.h"
#include "vmm/base/result.h"

namespace guest_init {

class Network {
 public:
  /// At boot, before anything is mounted: moves guest-init, and with it everything it starts, to a
  /// new network namespace that has loopback and eth0 only. The kernel's first one has the
  /// unremovable devices of every tunnel it knows.
  static base::Result<Network> enter_namespace();

  /// Before the machine is cloned: loopback up, and the device up (which fills its receive queue)
  /// with IPv6 off on it, so that it stays silent until it has its own address. Needs /proc.
  base::Result<void> bring_up();

  /// Gives eth0 what is this clone's own; without an interface takes the device away.
  base::Result<void> configure(const protocol::ConfigureNetwork& request) const;

 private:
  base::Result<void> remove_device() const;

  base::UniqueFd first_namespace_;  // the kernel's
  NetlinkSocket socket_;
  unsigned loopback_ = 0;  // interface indices; 0: there is none
  unsigned device_ = 0;
};

/// The requests that `configure` sends. kInvalidArgument for an address that is none.
base::Result<NetlinkBatch> interface_requests(
    unsigned index, const protocol::ConfigureNetwork::Interface& interface);

}  // namespace guest_init
