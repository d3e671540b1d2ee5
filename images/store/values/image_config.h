// ImageConfig: the parsed form of an image's configuration JSON (OCI image spec, config.md).
//
// An image's ID is the SHA-256 of the exact bytes of that JSON, so the store keeps the bytes and
// parses them when needed; nothing here is ever written back in their place.
// Trust: the JSON is written by whoever made the image. Size, nesting and types are checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace images {

/// Larger configurations and manifests are refused.
inline constexpr std::size_t kMaxConfigBytes = 4u << 20;
/// The overlay in the guest joins at most this many layers.
inline constexpr std::size_t kMaxLayers = 127;

struct Healthcheck {
  std::vector<std::string> test;  // {}, {"NONE"}, {"CMD", ...} or {"CMD-SHELL", command}
  std::chrono::nanoseconds interval{};
  std::chrono::nanoseconds timeout{};
  std::chrono::nanoseconds start_period{};
  std::chrono::nanoseconds start_interval{};
  std::int64_t retries = 0;
};

/// What a container of this image runs by default. An absent list is empty.
struct ContainerDefaults {
  std::string user;
  std::vector<std::string> env;  // "KEY=value"
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> shell;
  std::vector<std::string> on_build;
  std::string working_dir;
  std::string stop_signal;
  std::optional<std::int64_t> stop_timeout_seconds;
  std::set<std::string> exposed_ports;  // "80/tcp"
  std::set<std::string> volumes;        // paths
  std::map<std::string, std::string> labels;
  std::optional<Healthcheck> healthcheck;
};

struct HistoryEntry {
  std::string created;  // RFC 3339, as written
  std::string created_by;
  std::string author;
  std::string comment;
  bool empty_layer = false;
};

struct ImageConfig {
  std::string architecture;  // Go's names: "amd64"; empty in very old images
  std::string variant;
  std::string os;
  std::string created;  // RFC 3339, as written; may be empty
  std::string author;
  ContainerDefaults defaults;
  std::vector<std::string> diff_ids;  // "sha256:<hex>", lowest layer first
  std::vector<HistoryEntry> history;
};

/// Parses configuration bytes. kInvalidArgument when they are not an image configuration.
base::Result<ImageConfig> parse_image_config(std::string_view json);

/// Why this host cannot run images made for (`os`, `architecture`): kNotSupported with a sentence.
/// Empty names mean an image so old that it does not say, and are accepted as Docker accepts them.
base::Result<void> check_platform(std::string_view os, std::string_view architecture);

/// Docker's name for this host's architecture ("amd64").
std::string_view host_architecture();

}  // namespace images
