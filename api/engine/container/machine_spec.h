// From a container's settings to what its machine and its first process need.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/engine/settings/mounts/volume_form.h"
#include "api/machines/machine.h"

namespace engine {

/// A unix socket of the host in a container.
struct HostSocket {
  std::string path;
  HostFile file;
};

/// What the file server shows, and what processes cannot do with it.
struct SharedSource {
  SharedFiles files;
  MountRestrictions restrictions = {};
};

/// Where a mount's files are: a volume's disk, what the file server shows, or a socket of the host.
using MountSource = std::variant<std::filesystem::path, SharedSource, HostSocket>;

/// What is decided at start, not at create.
struct StartContext {
  std::vector<Endpoint> endpoints;  // the first is where its default route leads
  std::string resolv_conf;
  launch::Shape shape;                          // of the machine
  std::vector<MountSource> mount_sources = {};  // of the container's mounts, in their order
};

/// A machine that is made for the container, and the container, which has its place in a machine
/// already (Container::state.machine). One that goes into another's machine needs the latter only.
struct RunSpec {
  MachineSpec machine;
  ContainerSpec container;
};

/// The sockets of the host that a container may have, by the places of its mounts. Which of its
/// bind mounts are sockets, the host decides: the others are paths that are none.
SocketPaths socket_paths_of(const Container& container);

/// Errors: kInvalidArgument for a value that only shows itself here (devices, CPUs of the machine).
base::Result<RunSpec> run_spec_for(const Container& container, StartContext context);

/// The seccomp filter of the container's processes; null for none. `filters` outlives the call.
/// Errors: those of SeccompFilters.
net::awaitable<base::Result<SeccompFilters::Filter>> seccomp_filter_for(SeccompFilters& filters,
                                                                        ContainerPtr container);

/// The machine that a container with these limits gets.
launch::Shape shape_of(const Limits& limits, launch::Shape default_shape);

/// Where the files of all containers are.
std::filesystem::path storage_of(const Container& container);

struct ExecSettings;
/// A further process: the container's environment, user and directory unless `exec` says otherwise.
/// `process` and the terminal's size are left to the caller.
protocol::StartProcess exec_process_for(const Container& container, const ExecSettings& exec);

/// The hostname: as asked for, else the short ID.
std::string hostname_of(const Container& container);

/// The lines of /etc/hosts that say what the container is called at this endpoint: one for each of
/// its addresses.
std::vector<std::string> hosts_lines_of(const Container& container, const Endpoint& endpoint);

/// Docker's /etc/hosts for the container, which has a name at each endpoint.
std::string hosts_file_of(const Container& container, std::span<const Endpoint> endpoints);

}  // namespace engine
