// Volumes: makes, finds and removes volumes, which outlive containers. Each is a directory of the
// host, or a disk of its own (disks.h), which one running container has at a time; VolumeClaims
// decides which.
//   <directory>/<name>/_data   what is in a directory; empty, if that is one which a client named
//                      disk    or on a disk
// A directory that a client named (VolumeKind::kBind) is never opened here, and mounted nowhere: so
// nothing that is done with a volume's own files reaches it.
//
// Threads: the io_context thread; what blocks goes to the pool. Truth: the database; a volume's
// directory is made before its row and removed after it, so a crash leaves at most a directory
// without a row, which load() removes.
// Errors carry Docker's sentences: kNotFound "get x: no such volume", kConflict, kInvalidArgument.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/mutex.h"
#include "api/async/net.h"
#include "api/engine/settings/mounts/mount_points.h"
#include "api/engine/settings/mounts/volume_form.h"
#include "api/engine/state/database.h"
#include "api/engine/state/events.h"
#include "api/engine/state/timestamp.h"
#include "api/machines/disks/disks.h"

namespace engine {

struct Volume {
  std::string name;
  TimeNs created = 0;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;
  VolumeForm form = {};
  std::set<std::string> users;  // IDs of the containers that mention it
  bool stored = true;           // it has its row
  /// What is wrong with its row, or its files; else empty. Containers that mention it go on with
  /// its disk; nobody else gets it, and it is removed by its name only.
  std::string damage = {};

  bool anonymous() const;
};

using VolumePtr = std::shared_ptr<Volume>;

struct VolumeWish {
  std::string name;  // empty: a random one, and it is marked as anonymous
  std::string driver = {};
  std::map<std::string, std::string> labels = {};
  std::map<std::string, std::string> options = {};
  /// Its row is written by insert_row(), with that of the container that it is made for.
  bool with_container = false;
};

class Volumes {
 public:
  /// What it works with; all of it outlives it.
  struct Parts {
    net::any_io_executor executor;
    Database& database;
    Events& events;
    async::BlockingPool& pool;
    Disks& disks;
    std::filesystem::path directory;  // one directory per volume below it
  };

  explicit Volumes(Parts parts);

  /// Reads the database; removes directories of volumes that are not in it. First call. Blocks.
  base::Result<void> load();

  /// Makes a volume, or returns the one that has this name already, as it is. kConflict if that one
  /// is damaged.
  net::awaitable<base::Result<VolumePtr>> create(VolumeWish wish);
  /// Writes the row of a volume that was made `with_container`, in the caller's transaction. Once
  /// that is committed, set_stored() must follow.
  base::Result<void> insert_row(const Volume& volume);
  void set_stored(Volume& volume);
  base::Result<VolumePtr> find(std::string_view name) const;
  /// All volumes, sorted by name.
  std::vector<VolumePtr> list() const;
  /// kConflict while a container mentions it.
  net::awaitable<base::Result<void>> remove(VolumePtr volume);
  /// Erases the volume's row, in the caller's transaction; take_away() must follow at once.
  base::Result<void> erase_row(const Volume& volume);
  /// Forgets a volume without a row and removes its files.
  net::awaitable<void> take_away(VolumePtr volume);

  /// `container` mentions the volume from now on, or no longer.
  void use(std::string_view name, const std::string& container);
  void forget(std::string_view name, const std::string& container);
  /// `container` mentions no volume any more.
  void forget_user(const std::string& container);

  /// The volume's directory on the host.
  std::filesystem::path directory_of(std::string_view name) const;
  /// Where its files are: a directory, or a disk.
  std::filesystem::path files_of(const Volume& volume) const;
  /// In it, where its files are unless they are on a disk; of a kBind volume it is only a place to
  /// be shown.
  std::filesystem::path data_of(std::string_view name) const;
  /// The same, in it, of a volume that is a disk.
  std::filesystem::path disk_of(std::string_view name) const;
  /// Whether a volume of this name is there and is a disk.
  bool is_disk(std::string_view name) const;
  /// Its form, if a volume of this name is there and is a directory that a client named.
  std::optional<VolumeForm> bind_of(std::string_view name) const;
  /// The bytes that it takes on the host; 0 if the volume is gone. nullopt: not the volume's own,
  /// and not counted.
  net::awaitable<std::optional<std::uint64_t>> bytes_of(VolumePtr volume) const;

 private:
  base::Result<std::set<std::string>> load_rows();
  /// Writes a volume's damage into the log, and into its row for whoever looks there.
  void mark(const Volume& volume, const std::string& marked);
  void publish(const Volume& volume, std::string action) const;
  net::awaitable<base::Result<VolumePtr>> make(VolumeWish wish, VolumeForm form);
  net::awaitable<base::Result<void>> make_files(const Volume& volume);

  Parts parts_;
  std::map<std::string, VolumePtr, std::less<>> volumes_;
  async::Mutex making_;             // so that two requests do not make one volume
  mutable async::Mutex measuring_;  // one large tree at a time, so that the pool has other threads
};

}  // namespace engine
