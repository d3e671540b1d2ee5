// From a container's settings to what its machine and its first process need.
#pragma once

#include <optional>
#include <string>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/machines/machine.h"

namespace engine {

/// What is decided at start, not at create.
struct StartContext {
  std::optional<Endpoint> endpoint;
  std::string resolv_conf;
  launch::Shape default_shape;
  std::vector<std::filesystem::path> mount_disks = {};  // of the container's mounts, in their order
};

/// Errors: kInvalidArgument for a value that only shows itself here (capabilities, sizes).
base::Result<MachineSpec> machine_spec_for(const Container& container, StartContext context);

/// The bounding set of a container's processes. Errors: kInvalidArgument for an unknown name.
base::Result<std::uint64_t> capabilities_of(const nlohmann::json& host_config);

/// The seccomp filter of the container's processes; null for none. `filters` outlives the call.
/// Errors: those of capabilities_of() and of SeccompFilters.
net::awaitable<base::Result<SeccompFilters::Filter>> seccomp_filter_for(SeccompFilters& filters,
                                                                        ContainerPtr container);

/// The limits of a container with its files below `storage`, as its machine's guest keeps them.
/// Errors: kInvalidArgument (block_io.h).
base::Result<protocol::PrepareContainer::Limits> limits_for(const Settings& settings,
                                                            const std::filesystem::path& storage);
/// Where the files of all containers are.
std::filesystem::path storage_of(const Container& container);

struct ExecSettings;
/// A further process: the container's environment, user and directory unless `exec` says otherwise.
/// `process` and the terminal's size are left to the caller.
base::Result<protocol::StartProcess> exec_process_for(const Container& container,
                                                      const ExecSettings& exec);

/// The places of a container's volumes, those above before those below: absolute, normal paths.
std::vector<std::string> volume_places(const nlohmann::json& config);

/// MaskedPaths and ReadonlyPaths: Docker's lists, unless the client gave its own or is privileged.
void fill_in_default_paths(nlohmann::json& host_config);

/// The hostname: as asked for, else the short ID.
std::string hostname_of(const Container& container);

/// Docker's /etc/hosts for the container.
std::string hosts_file_of(const Container& container, const std::optional<Endpoint>& endpoint);

/// What a refused process means to Docker's client: the error text, and the container's exit code.
struct StartRefusal {
  std::string message;
  int exit_code = 128;
};
StartRefusal explain_refusal(const protocol::Failure& failure, const std::string& argv0);

}  // namespace engine
