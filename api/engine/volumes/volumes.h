// Volumes: what outlives containers. Each is a disk of its own (disks.h), which one running
// container has at a time; who that is, Containers decides.
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
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/mutex.h"
#include "api/async/net.h"
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
  std::set<std::string> users;  // IDs of the containers that mention it
  bool stored = true;           // it has its row
  /// What is wrong with its row, or its disk; else empty. Containers that mention it go on with its
  /// disk; nobody else gets it, and it is removed by its name only.
  std::string damage = {};

  bool anonymous() const;
};

using VolumePtr = std::shared_ptr<Volume>;

struct VolumeWish {
  std::string name;  // empty: a random one, and it is marked as anonymous
  std::string driver = {};
  std::map<std::string, std::string> labels = {};
  std::map<std::string, std::string> options = {};
  /// Its row comes with that of the container it is made for: insert_row().
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

  /// Makes a volume; one that has this name already is the answer as it is. kConflict if that one
  /// is damaged.
  net::awaitable<base::Result<VolumePtr>> create(VolumeWish wish);
  /// The row of a volume that was made `with_container`, in the caller's transaction; once that is
  /// committed, set_stored() is to follow.
  base::Result<void> insert_row(const Volume& volume);
  void set_stored(Volume& volume);
  base::Result<VolumePtr> find(std::string_view name) const;
  /// By name.
  std::vector<VolumePtr> list() const;
  /// kConflict while a container mentions it.
  net::awaitable<base::Result<void>> remove(VolumePtr volume);
  /// The volume's row goes, in the caller's transaction; take_away() is to follow at once.
  base::Result<void> erase_row(const Volume& volume);
  /// Forgets a volume without a row and removes its files.
  net::awaitable<void> take_away(VolumePtr volume);

  /// `container` mentions the volume from now on, or no longer.
  void use(std::string_view name, const std::string& container);
  void forget(std::string_view name, const std::string& container);
  /// `container` mentions no volume any more.
  void forget_user(const std::string& container);

  std::filesystem::path disk_of(std::string_view name) const;
  /// What its disk takes of the host's; of a volume that is gone, 0.
  std::uint64_t bytes_of(std::string_view name) const;

 private:
  base::Result<std::set<std::string>> load_rows();
  /// In the log, and in the row for whoever looks there.
  void mark(const Volume& volume, const std::string& marked);
  void publish(const Volume& volume, std::string action) const;
  net::awaitable<base::Result<VolumePtr>> make(VolumeWish wish, std::uint64_t bytes);

  Parts parts_;
  std::map<std::string, VolumePtr, std::less<>> volumes_;
  async::Mutex making_;  // so that two requests do not make one volume
};

}  // namespace engine
