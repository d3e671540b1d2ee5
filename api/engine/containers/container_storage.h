// ContainerStorage: makes, finds and removes what a container has on the host's disk, and holds its
// image's layers.
//
// Each container has a directory with its writable disk and its log, and holds its image's layers
// from make() to drop(). Threads: the io_context thread; what blocks goes to the pool. What Parts
// refers to outlives it. After a crash directories and holds without a container are left, which
// retain_only() removes.
// Errors: those of the image store and of Disks.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_logs.h"
#include "api/machines/disks/disks.h"
#include "images/store/store.h"

namespace engine {

class ContainerStorage {
 public:
  struct Parts {
    net::any_io_executor executor;
    async::BlockingPool& pool;
    images::Store& images;
    Disks& disks;
    std::filesystem::path directory;  // one directory per container below it
  };

  explicit ContainerStorage(Parts parts);

  /// A container without anything on the disk: place() follows when its settings are known.
  ContainerPtr new_container(std::string id) const;
  /// Gives it its directory's name, its log and the process of its first run.
  void place(Container& container);
  /// Checks that an earlier daemon's container still has its directory, without which it never runs
  /// again: kNotFound.
  base::Result<void> check_directory(const std::string& id) const;

  /// Finds the image that a container is to be made of, and checks that it may run.
  net::awaitable<base::Result<images::Image>> resolve(std::string image);
  /// Checks that the signature policy, as it is now, lets the container's image run: the policy may
  /// have changed since the container was made.
  net::awaitable<base::Result<void>> check_image(ContainerPtr container);

  /// Makes its directory and disk, and holds its image's layers.
  net::awaitable<base::Result<void>> make(ContainerPtr container);
  /// Looks up the layers that a container of an earlier daemon holds.
  net::awaitable<base::Result<void>> find_layers(ContainerPtr container);
  /// Removes what make() made. Errors go to the log.
  net::awaitable<void> drop(ContainerPtr container);
  /// Removes directories, and gives back layers, of containers that are not `known`: their creation
  /// or removal did not come to its end.
  net::awaitable<base::Result<void>> retain_only(std::set<std::string> known);

  ContainerLogs& logs() { return logs_; }

 private:
  void drop_unknown_directories(const std::set<std::string>& known);

  Parts parts_;
  ContainerLogs logs_;
};

}  // namespace engine
