// VolumeForm: what the options of a volume (DriverOpts) make of it.
//
// They are those of Docker's local driver (volume/local of moby): `type`, `o`, `device` and `size`.
// Trust: the options are a client's. Any thread; no I/O: whether there is something at a path, and
// whether containers may have it, shows when one starts with the volume.
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
  kBind,       // in a directory of the host that is a client's, and was there before the volume
};

/// What the mount options of a kBind volume take from all who have it.
struct MountRestrictions {
  bool no_setuid = false;   // programs there do not change who runs them
  bool no_devices = false;  // devices there cannot be opened
  bool no_exec = false;     // programs there cannot be run
  bool operator==(const MountRestrictions&) const = default;
};

struct VolumeForm {
  VolumeKind kind = VolumeKind::kDirectory;
  std::uint64_t bytes = 0;  // that a disk holds; 0: the default
  // Of kBind:
  std::string device = {};    // the directory's path, absolute
  bool mounts_below = false;  // what is mounted below it on the host is there as well
  bool read_only = false;     // for each container, and also what is mounted below
  MountRestrictions restrictions = {};
  bool operator==(const VolumeForm&) const = default;
};

/// The form of a volume with these options: a directory of the host with `type=none`, `device` and
/// `o=bind`; a disk with `type=disk`, or with `size`.
/// Errors: kNotFound, in Docker's words, for any driver but local; kInvalidArgument for options
/// that do not go together, in Docker's words where it has any; kNotSupported for other file
/// systems and mount options.
base::Result<VolumeForm> volume_form(const std::string& driver,
                                     const std::map<std::string, std::string>& options);

}  // namespace engine
