// Settings: what a container is asked to be, as values of their types.
//
// A request is parsed and checked here, where it comes in, and a container's row by the same parser
// where it is read; a change goes by way of the document, too. Everything behind that takes these
// values and reads no JSON. Whoever shows or stores settings has the document beside them.
// Trust: the request comes from the client, the image's defaults from whoever made the image.
// Errors: kInvalidArgument for a wrong value, kNotSupported for one this host does not honour; the
// messages are sentences for the client, in Docker's words. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/settings/health_settings.h"
#include "api/engine/settings/limits.h"
#include "api/engine/settings/log_settings.h"
#include "api/engine/settings/mounts/mount_points.h"
#include "api/engine/settings/naming.h"
#include "api/engine/settings/networking/endpoint_settings.h"
#include "api/engine/settings/networking/port_settings.h"
#include "api/engine/settings/process_settings.h"
#include "api/engine/settings/security_settings.h"
#include "api/engine/settings/settings_document.h"
#include "api/engine/settings/sharing.h"
#include "api/engine/state/stored_fields.h"
#include "guest-init/protocol/messages.h"
#include "images/store/values/image_config.h"
#include "vmm/base/result.h"

namespace engine {

struct RestartPolicy {
  enum class Kind { kNo, kAlways, kUnlessStopped, kOnFailure };
  Kind kind = Kind::kNo;
  std::int64_t maximum_retries = 0;  // for kOnFailure; 0 = no limit
};

/// A parameter of the guest's kernel, as the guest is sent it.
using Sysctl = protocol::PrepareContainer::Sysctl;

/// Made by the functions below only, which keep the values and the document the same.
struct Settings {
  SettingsDocument document{};  // to be shown and stored

  std::string image{};  // as it was named
  std::map<std::string, std::string> labels{};
  std::set<std::string> exposed_ports{};  // "80/tcp"
  ProcessSettings process{};
  Limits limits{};
  Security security{};
  std::vector<Sysctl> sysctls{};
  Mounts mounts{};
  Naming naming{};
  Sharing sharing{};
  std::vector<EndpointSettings> endpoints{};  // NetworkMode's first, then by name
  PortSettings ports{};
  LogConfig log{};
  HealthSettings health{};
  RestartPolicy restart_policy{};
  bool auto_remove = false;
};

/// Reads and checks a create request. The image's defaults are not in the result yet.
base::Result<Settings> parse_settings(const nlohmann::json& body);

/// `asked` with what `image`, and Docker for every container, gives by default; `hostname` is that
/// of a container that asked for none. kInvalidArgument if there is nothing to run then.
base::Result<Settings> settings_with_defaults(const Settings& asked,
                                              const images::ContainerDefaults& image,
                                              const std::string& hostname);

/// `old` with full IDs of the containers that it shares with (sharing.h).
base::Result<Settings> settings_with_ids(const Settings& old, const FindId& find);

/// `old` with the names of `donor`, whose network it shares: Docker shows them so from a start on.
base::Result<Settings> settings_named_as(const Settings& old, const Settings& donor);

/// `old` with what an update request (Docker's Resources and RestartPolicy) changes; 0 and empty
/// values in it change nothing.
base::Result<Settings> updated_settings(const Settings& old, const nlohmann::json& changes);

/// `old` with a place on `network`, as a connect request describes it, instead of the one it had;
/// or with none.
base::Result<Settings> connected_settings(const Settings& old, const std::string& network,
                                          const nlohmann::json& endpoint);
base::Result<Settings> disconnected_settings(const Settings& old, const std::string& network);

/// Reads the settings of a container's row. Fields that the row is too old to have are at their
/// defaults; so are all if it cannot be read. What is there is checked as a request is.
Stored<Settings> stored_settings(std::string_view text);

/// Sets the image's name in settings that could not be read from a row.
void name_image(Settings& settings, std::string image);

}  // namespace engine
