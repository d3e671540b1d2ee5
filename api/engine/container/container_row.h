// ContainerRow: a container's row in the database, read.
//
// Fields that came later than the row have their defaults. A row of which something is wrong is set
// aside: its container is there and dead, with what can be read of it and with defaults for the
// rest, and the row stays as it is but for the column `damage`, which says what is wrong. Such a
// container can be looked at, copied from, renamed and removed; it is not started, updated, pruned
// or made an image of, and no restart policy acts on it. Each daemon reads the row anew, so a
// repaired one is a container like any other.
// Threads: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container/container.h"
#include "api/engine/state/database.h"

namespace engine {

struct ContainerRow {
  std::string id;
  std::string name;
  TimeNs created = 0;
  std::string image_id;
  Settings settings;
  ContainerState state;
  std::vector<MountPoint> mounts;
  std::string mounts_text;  // what `mounts` was read from
  std::string damage;       // the first thing that is wrong
  std::string marked;       // what an earlier daemon found wrong
};

/// A query whose rows read_container_row() takes.
extern const std::string_view kContainerRows;
ContainerRow read_container_row(const Database::Row& row);

/// Without a valid ID nothing of a row can be used, not even to name a directory.
bool has_valid_id(const ContainerRow& row);

/// Whether a text that could not be read as a container's mounts names the volume.
bool mentions_volume(std::string_view mounts_text, std::string_view volume);

/// For who asks more of the container than it can do; success if nothing is wrong with it.
base::Result<void> check_not_set_aside(const Container& container);

}  // namespace engine
