// MountPoint: where a volume appears in a container, and what a create request says of that.
//
// A request names volumes in four places: HostConfig.Binds ("name:/path:ro"), HostConfig.Mounts
// (Type volume), Volumes (of the request and of the image: a new volume without a name), and
// HostConfig.VolumesFrom, which names containers and is resolved by Containers.
// Trust: all of it is the client's, or the image's. Errors: kInvalidArgument in Docker's words,
// kNotSupported for bind mounts and other drivers.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/engine/settings/settings.h"
#include "api/engine/state/stored_fields.h"

namespace engine {

/// More in one container are refused: each is a partition of one disk.
inline constexpr std::size_t kMostMounts = 100;

struct MountPoint {
  std::string volume;       // its name
  std::string destination;  // absolute, normal
  std::string mode;         // as inspect shows it
  std::string subpath;      // of the volume; "": all of it
  bool read_only = false;
  bool copy_up = true;     // an empty volume gets what the image has there
  bool anonymous = false;  // made for a container, and removed with it by `rm -v`
};

/// What has to be there before it is a MountPoint: a volume of `mount.volume`'s name, or, if that
/// is empty, a new one.
struct MountWish {
  MountPoint mount;
  // Of a volume that is made for it:
  std::string driver;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;
};

/// The volumes of Binds, Mounts and Volumes. A place of Volumes where something else is mounted is
/// left out.
base::Result<std::vector<MountWish>> mount_wishes(const Settings& settings);

/// An entry of VolumesFrom: "container" or "container:ro".
struct VolumesFrom {
  std::string container;
  bool read_only = false;  // else as there
};
base::Result<VolumesFrom> parse_volumes_from(const std::string& text);

/// Makes `mount` as a list like "ro,nocopy" says; kInvalidArgument for a word that no volume has.
base::Result<void> apply_mode(MountPoint& mount, const std::string& mode);

/// kInvalidArgument unless a volume may have this name.
base::Result<void> check_volume_name(std::string_view name);

/// The bytes that a volume with these options may hold; 0: the default. kNotFound, in Docker's
/// words, for any driver but local.
base::Result<std::uint64_t> volume_bytes(const std::string& driver,
                                         const std::map<std::string, std::string>& options);

nlohmann::json to_json(const std::vector<MountPoint>& mounts);
/// Of a container's row. As many of them as can be read.
Stored<std::vector<MountPoint>> stored_mounts(std::string_view text);

}  // namespace engine
