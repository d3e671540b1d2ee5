// Sharing: whose namespaces a container has instead of its own, as a create request says it.
//
// A container that shares any is in the other's machine. Trust: all of it is the client's. Errors:
// kInvalidArgument and kNotSupported in Docker's words. Threads: any.
// Spec: Docker Engine API 1.51, HostConfig.NetworkMode, IpcMode, PidMode.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "api/engine/settings/settings_document.h"
#include "vmm/base/result.h"

namespace engine {

struct Sharing {
  // The other container's name or ID, as it was said, or its full ID where it was there when this
  // one was made. Empty: nobody's.
  std::string network;
  std::string ipc;
  std::string pid;
  bool shareable_ipc = false;    // others may have its IPC namespace and its /dev/shm
  bool no_memory_files = false;  // it has no /dev/shm

  bool joins() const { return !network.empty() || !ipc.empty() || !pid.empty(); }
};

/// X of "container:X"; empty if `mode` is something else.
std::string_view joined_container(std::string_view mode);

/// Reads it; `host_config` has every field of its table, of its type.
base::Result<Sharing> parse_sharing(const nlohmann::json& host_config);

/// Whether a request that is a document already, without the image's defaults, contradicts itself:
/// who shares a network has nothing to say about it, and who shares anything else has no network of
/// its own either.
base::Result<void> check_sharing(const SettingsDocument& document);

/// The full ID of the container that is called so; nullopt: there is none.
using FindId = std::function<std::optional<std::string>(const std::string& named)>;

/// Puts full IDs in the places of names, so that the other container may be renamed. As with Docker
/// a network may be that of a container that is not there yet, the others may not:
/// kInvalidArgument.
base::Result<void> name_by_id(SettingsDocument& document, const FindId& find);

}  // namespace engine
