// Settings: what a container is asked to be. The normalised form of a create request: every field
// present, of its type, its values checked.
//
// It is kept as JSON in Docker's own shape, because that is what inspect shows and what the
// database stores; typed questions are answered by the functions below.
// Trust: the request comes from the client, the image's defaults from whoever made the image.
// Errors: kInvalidArgument for a wrong value, kNotSupported for one this host does not honour; the
// messages are sentences for the client.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/settings/settings_fields.h"
#include "api/engine/state/stored_fields.h"
#include "images/store/values/image_config.h"
#include "vmm/base/result.h"

namespace engine {

struct RestartPolicy {
  enum class Kind { kNo, kAlways, kUnlessStopped, kOnFailure } kind = Kind::kNo;
  std::int64_t maximum_retries = 0;  // for kOnFailure; 0 = no limit
};

struct Settings {
  nlohmann::json config;       // every field of config_fields()
  nlohmann::json host_config;  // every field of host_config_fields()

  const std::string& text(const char* field) const;  // of config
  bool flag(const char* field) const;
  std::vector<std::string> strings(const char* field) const;

  std::string image() const { return text("Image"); }
  bool tty() const { return flag("Tty"); }
  bool open_stdin() const { return flag("OpenStdin"); }
  bool stdin_once() const { return flag("StdinOnce"); }
  bool auto_remove() const { return host_config.at("AutoRemove").get<bool>(); }
  std::string network_mode() const;           // "bridge" or "none"
  int stop_signal() const;                    // of StopSignal; SIGTERM
  std::chrono::seconds stop_timeout() const;  // default 10 s; negative: wait for ever
  RestartPolicy restart_policy() const;
  bool logs() const;  // LogConfig.Type is not "none"
  std::string log_driver() const;
  /// The size of the writable disk: --storage-opt size, 0 for the default; kInvalidArgument for
  /// nonsense.
  base::Result<std::uint64_t> disk_bytes() const;
  /// Entrypoint followed by Cmd.
  std::vector<std::string> command_line() const;
};

/// The fields of a request that `fields` describes, defaults filled in; `where` is put before their
/// names in an Error. kInvalidArgument: a wrong type; kNotSupported: refused, or not in the table.
base::Result<nlohmann::json> take_fields(std::span<const Field> fields, const nlohmann::json& body,
                                         const std::string& where);

/// Of a container's row: fields that came later than it are at their defaults, as they are if
/// nothing was read. What is there is checked as a request is.
Stored<Settings> stored_settings(std::string_view text);

/// Checks a create request (`body`) and fills in defaults. The image's are not in it yet.
base::Result<Settings> parse_settings(const nlohmann::json& body);

/// Adds what `image` gives by default; kInvalidArgument if there is nothing to run then.
base::Result<void> apply_image_defaults(Settings& settings, const images::ContainerDefaults& image);

/// `old` with what an update request (Docker's Resources and RestartPolicy) changes; 0 and empty
/// values in it change nothing.
base::Result<Settings> update_settings(const Settings& old, const nlohmann::json& changes);

/// "10g", "64MiB" in whole MiB, up to 4 TiB; kInvalidArgument for nonsense.
base::Result<std::uint64_t> parse_disk_bytes(std::string_view text);

/// "SIGTERM", "TERM", "15", "RTMIN+3" -> number.
base::Result<int> parse_signal(std::string_view text);

}  // namespace engine
