// VolumeForm: what the options of a volume (DriverOpts) make of it.
//
// Trust: the options are a client's. Any thread; no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "vmm/base/result.h"

namespace engine {

/// Where a volume's files are.
enum class VolumeKind : std::uint8_t {
  kDirectory,  // in a directory of the host, which any number of machines has by virtio-fs
  kDisk,       // on a disk of its own, which one machine has at a time
};

struct VolumeForm {
  VolumeKind kind = VolumeKind::kDirectory;
  std::uint64_t bytes = 0;  // that a disk holds; 0: the default
};

/// The form of a volume with these options: a disk with `type=disk`, or with `size`. kNotFound, in
/// Docker's words, for any driver but local.
base::Result<VolumeForm> volume_form(const std::string& driver,
                                     const std::map<std::string, std::string>& options);

}  // namespace engine
