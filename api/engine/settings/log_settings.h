// LogConfig: what HostConfig.LogConfig asks of the log driver json-file. LogSettings: what that
// comes to when a container starts.
//
// As with Docker, the names of options, `mode` and `max-buffer-size` are checked when a container
// is created, the other values when it starts; this host's own bounds are checked at create. Trust:
// options come from the client; regular expressions are RE2's, which need linear time. Errors:
// kInvalidArgument and, at start, kInternal in Docker's words; kNotSupported for a log driver, or a
// tag template, that this host does not have.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

/// Bounds of max-size and max-file: a rotation after every few lines would be most of the work.
/// Values beyond them are refused when a container is created; a container that is older than the
/// bounds gets what comes nearest.
inline constexpr std::int64_t kLeastLogSize = 1000;
inline constexpr int kMostLogFiles = 1000;
/// What holds without max-size, where Docker has no limit: as much as a host survives of many
/// containers.
inline constexpr std::int64_t kDefaultLogSize = 100'000'000;
inline constexpr int kDefaultLogFiles = 5;

/// Longer attributes are refused: every line repeats them.
inline constexpr std::size_t kMaxLogAttributes = 256u << 10;

/// What was asked for; options may still be wrong in ways that Docker sees at start.
struct LogConfig {
  std::string driver = "json-file";  // or "none"
  std::map<std::string, std::string> options{};

  bool writes() const { return driver != "none"; }
};

/// What a LogConfig comes to for one run of a container.
struct LogSettings {
  std::int64_t max_size = -1;  // a file this long is rotated; -1: never
  int max_files = 1;
  bool compress = false;              // all files but the present one
  bool blocking = true;               // mode: the log may hold the process back
  std::int64_t max_buffer = 1 << 20;  // non-blocking: what may exceed max_size before it is dropped
  std::string attributes{};           // "attrs" of every line as JSON; empty: none
  std::string remark{};               // what is not as it was asked for; empty: nothing
};

/// The container as `labels`, `env` and `tag` see it.
struct LogSubject {
  std::string id;
  std::string name;  // without Docker's leading slash
  std::string image_id;
  std::string image_name;
  std::vector<std::string> command;
  std::vector<std::string> env;
  std::map<std::string, std::string> labels;
};

/// Reads and checks a create request's LogConfig.
base::Result<LogConfig> parse_log_config(const nlohmann::json& log_config);

/// The settings for one run.
base::Result<LogSettings> log_settings_for(const LogConfig& config, const LogSubject& subject);

}  // namespace engine
