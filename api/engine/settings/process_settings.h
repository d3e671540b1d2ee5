// ProcessSettings: what a container's first process is to be, as a create request and its image say
// it.
//
// Trust: the request comes from the client, the image's defaults from whoever made the image.
// Errors: kInvalidArgument in Docker's words. Threads: any.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

struct ProcessSettings {
  std::vector<std::string> argv;  // Entrypoint followed by Cmd; empty in a request: the image's
  /// "NAME=value". "NAME" alone takes away what Docker itself, or the image, would give.
  std::vector<std::string> env;
  std::string directory = "/";
  std::string user;  // "name|uid[:group|gid]"; empty: root
  std::vector<std::string> groups;
  bool tty = false;
  std::uint16_t rows = 0;  // the terminal's first size; 0: left as it is
  std::uint16_t columns = 0;
  bool open_stdin = false;
  bool stdin_once = false;  // its input ends with the client that had it
  bool use_init = false;    // a PID 1 that reaps, before the process
  std::int32_t oom_score_adj = 0;
  std::vector<protocol::StartProcess::Rlimit> rlimits;

  // How it is ended when nobody says otherwise.
  int stop_signal = SIGTERM;
  std::chrono::seconds stop_timeout{10};  // at most ten years; negative: wait for ever
};

/// Reads and checks it. Both have every field of their tables (settings_fields.h), of its type.
base::Result<ProcessSettings> parse_process(const nlohmann::json& config,
                                            const nlohmann::json& host_config);

/// "SIGTERM", "TERM", "15", "RTMIN+3" -> number.
base::Result<int> parse_signal(std::string_view text);

}  // namespace engine
