// The daemon's configuration file, daemon.json as Docker has it: the part that this host knows.
#pragma once

#include <filesystem>

#include "api/program/options.h"
#include "vmm/base/result.h"

namespace program {

/// Adds what the file says to `options`. kInvalidArgument for JSON that is not understood in full:
/// a setting is not passed over.
base::Result<void> read_config_file(const std::filesystem::path& path, Options& options);

}  // namespace program
