// Mounts: what a create request says of a container's files: its volumes, its bind mounts, its
// tmpfs, its root. MountPoint: where a volume, or a file or directory of the host, appears in a
// container that has been made.
//
// A request names them in four places: HostConfig.Binds ("name:/path:ro", "/host:/path"),
// HostConfig.Mounts (Type volume, bind), Volumes (of the request and of the image: a new volume
// without a name), and HostConfig.VolumesFrom, which names containers and is resolved by
// ContainerVolumes.
// Trust: all of it is the client's, or the image's. Errors: kInvalidArgument in Docker's words,
// kNotSupported for what bind mounts cannot be here and for other drivers.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/engine/state/stored_fields.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

/// More in one container are refused: each is a partition of one disk.
inline constexpr std::size_t kMostMounts = 100;

/// What a bind mount shows.
struct HostSource {
  std::string path;             // absolute, normal
  bool create = false;          // a directory is made at each start, if nothing is there
  bool mounts_below = true;     // what is mounted below it on the host is there as well
  bool read_only_below = true;  // and read-only, if the mount is
  /// The container may see it as it was a second ago ("cached", "delegated").
  bool relaxed = false;
  bool operator==(const HostSource&) const = default;
};

struct MountPoint {
  bool is_bind() const { return !host.path.empty(); }

  std::string volume;       // its name; of a bind mount: empty
  HostSource host = {};     // of a bind mount
  std::string destination;  // absolute, normal
  std::string mode;         // as inspect shows it
  std::string subpath;      // of the volume; "": all of it
  bool read_only = false;
  bool copy_up = true;     // an empty volume gets what the image has there
  bool anonymous = false;  // made for a container, and removed with it by `rm -v`
};

/// A mount whose volume may not exist yet. Unless it is a bind mount, before it is a MountPoint
/// there must be a volume of `mount.volume`'s name, or, if that is empty, a new one.
struct MountWish {
  MountPoint mount;
  bool must_exist = false;  // a bind mount's source, when the container is made
  // Of a volume that is made for it:
  std::string driver;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;
};

/// An entry of VolumesFrom: "container" or "container:ro".
struct VolumesFrom {
  std::string container;
  bool read_only = false;  // else as the other container has it
};
base::Result<VolumesFrom> parse_volumes_from(const std::string& text);

struct Mounts {
  /// The volumes and bind mounts of Binds, Mounts and Volumes, but for a place of Volumes where
  /// something else is mounted.
  std::vector<MountWish> volumes;
  std::vector<VolumesFrom> volumes_from;
  std::vector<std::string> volume_places;  // all of Volumes: absolute, normal, sorted
  std::vector<protocol::PrepareContainer::Tmpfs> tmpfs;
  std::uint64_t shm_bytes = 64u << 20;
  bool read_only_root = false;
};

/// Reads and checks them. Both have every field of their tables (settings_fields.h), of its type.
base::Result<Mounts> parse_mounts(const nlohmann::json& config, const nlohmann::json& host_config);

/// Makes `mount` as a list like "ro,nocopy" says; kInvalidArgument for a word that it cannot have,
/// kNotSupported for a propagation.
base::Result<void> apply_mode(MountPoint& mount, const std::string& mode);

/// kInvalidArgument unless a volume may have this name.
base::Result<void> check_volume_name(std::string_view name);

nlohmann::json to_json(const std::vector<MountPoint>& mounts);
/// Reads the mounts of a container's row, as many of them as can be read.
Stored<std::vector<MountPoint>> stored_mounts(std::string_view text);

}  // namespace engine
