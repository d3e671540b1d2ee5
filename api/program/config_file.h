// Reads the daemon's configuration file: the settings of Docker's daemon.json that this host has.
#pragma once

#include <filesystem>

#include "api/program/options.h"
#include "vmm/base/result.h"

namespace program {

/// Adds what the file says to `options`. kInvalidArgument, with the file's name, if it cannot be
/// read, is no JSON object, or has a setting that this host does not know, of a wrong type, or
/// given as a flag already: no setting is passed over in silence.
base::Result<void> read_config_file(const std::filesystem::path& path, Options& options);

}  // namespace program
