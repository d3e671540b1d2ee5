// Links: network interfaces of the host, by ioctl (netdevice(7), bridge and tun/tap) and
// rtnetlink(7).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine::links {

bool exists(const std::string& name);
/// Names of all interfaces that begin with `prefix`.
std::vector<std::string> with_prefix(const std::string& prefix);

/// kAlreadyExists if there is one of this name.
base::Result<void> create_bridge(const std::string& name);
/// The bridge must be down.
base::Result<void> delete_bridge(const std::string& name);
/// On a host whose bridges show their frames to IPv4's rules (br_netfilter), the port gets frames
/// back that it sent itself: else a machine would not reach a published port of its own there.
base::Result<void> add_to_bridge(const std::string& bridge, const std::string& port);
/// A port of a bridge reaches the bridge's host, but no other isolated port, from now on.
base::Result<void> isolate(const std::string& port);

/// A tap with IFF_NO_PI | IFF_VNET_HDR and the 12-byte header of virtio 1.x, not persistent,
/// non-blocking.
base::Result<base::UniqueFd> create_tap(const std::string& name);

base::Result<void> set_up(const std::string& name, bool up);
base::Result<void> set_mtu(const std::string& name, std::uint32_t mtu);
/// One that was set stays; a bridge without takes a port's, and another one when that port goes.
base::Result<void> set_mac(const std::string& name, const std::string& mac);
base::Result<void> set_address(const std::string& name, const std::string& address,
                               std::uint8_t prefix_length);
/// One of IPv6, beside others; the network is not asked whether somebody else has it. No matter if
/// it is there already.
base::Result<void> add_address6(const std::string& name, const std::string& address,
                                std::uint8_t prefix_length);

}  // namespace engine::links
