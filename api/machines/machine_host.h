// MachineHost: everything the engine needs from the host to run machines, opened and closed
// together.
//
// Threads: io_context thread. Lifetime: outlives every Machine it gave out; `io` outlives it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "api/machines/disks/disks.h"
#include "api/machines/machine.h"
#include "api/networks/networks.h"
#include "api/privileged/host_files.h"

namespace engine {

struct MachineHostConfig {
  std::filesystem::path state;      // absolute; `run`, `templates`, `disks` are made below it
  std::filesystem::path kernel;     // uncompressed vmlinux
  std::filesystem::path initramfs;  // guest-init.cpio
  std::filesystem::path monitor;    // containervm-vmm
  std::filesystem::path file_server = {};  // containervm-fileserver
  host_files::Access host_access = {};     // what containers may have of the host
  std::string host_id = {};                // no other host's; see BridgeNetworks::Config
  std::string tenant = "default";
  launch::Shape default_shape{.vcpus = 1, .memory_bytes = 512ull << 20};
  std::size_t pool = 2;    // clones restored in advance; 0: none
  bool networking = true;  // false: connect() answers kNotSupported, nothing is made on the host
  std::string bridge;      // name of the default bridge; empty: derived from `state`
  std::string subnet;      // "172.17.0.0/16"; empty: the first free one
  std::filesystem::path port_list = {};  // see LocalPrivileged::Config
  bool link_local = false;  // whether machines may reach 169.254.0.0/16 (metadata services)
  std::filesystem::path group_root;  // host_groups.h; empty: machines have no cgroups
  /// Which daemon of this host has which uids (uid_range.h).
  std::filesystem::path uid_registry = "/run/containervm/uids";
};

class MachineHost {
 public:
  virtual ~MachineHost() = default;

  /// Cleans up after a crashed daemon, makes the default network, and begins to build the default
  /// template in the background. Errors say what is missing and what to do.
  static base::Result<std::unique_ptr<MachineHost>> open(net::io_context& io,
                                                         MachineHostConfig config);

  virtual Machines& machines() = 0;
  virtual Networks& networks() = 0;
  virtual Disks& disks() = 0;
  /// What `uname -r` says in a machine.
  virtual std::string kernel_release() const = 0;

  /// Ends the pool and removes what was made on the host. Running machines are left alone, and so
  /// are the bridge and the rules as long as one of them uses them.
  virtual net::awaitable<void> close() = 0;
};

}  // namespace engine
