// ContainerTable: finds containers by ID and by name, and keeps their rows in the database.
//
// Threads: the io_context thread. Database and Volumes outlive it. It owns the containers, with
// whoever holds a ContainerPtr. Truth: the database; a change is committed before anybody is told
// of it. The row of one that is set aside (container_row.h) stays as it was found.
// Errors carry Docker's sentences: kNotFound "No such container: x", kConflict for a name that is
// taken, kInvalidArgument; those of the database are kInternal.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container/container.h"
#include "api/engine/container/container_row.h"
#include "api/engine/state/database.h"
#include "api/engine/volumes/volumes.h"

namespace engine {

class ContainerTable {
 public:
  ContainerTable(Database& database, Volumes& volumes) : database_(database), volumes_(volumes) {}

  /// Finds a container by full ID, name (with or without a leading slash), or unique ID prefix.
  base::Result<ContainerPtr> find(std::string_view name) const;
  /// Newest first.
  std::vector<ContainerPtr> list() const;

  /// Takes the name `wanted`, or, if that is empty, a random one, for the container `id`. The
  /// caller gives it back by free_name() unless the container is added.
  base::Result<std::string> choose_name(const std::string& wanted, const std::string& id);
  void free_name(const std::string& name) { names_.erase(name); }
  bool has_name(std::string_view name) const { return names_.contains(name); }
  /// Gives the container another name; returns the old one, which is free then.
  base::Result<std::string> rename(Container& container, const std::string& name);

  /// From now on the container is found, or no longer. Its row is written by insert() and erase().
  /// erase().
  void add(const ContainerPtr& container);
  void remove(const Container& container);

  /// Writes the container's row, and those of `volumes`, which were made for it, in one
  /// transaction.
  base::Result<void> insert(const Container& container, const std::vector<VolumePtr>& volumes);
  /// Erases the container's row, and those of `volumes`, in one transaction.
  base::Result<void> erase(const Container& container, const std::vector<VolumePtr>& volumes);
  /// Writes the container's state as it is now.
  base::Result<void> commit(const Container& container);
  /// As commit(), where nobody can be told of an Error: it goes to the log.
  void commit_or_log(const Container& container);
  /// Both: the state as it is now, and `settings` as the container's.
  base::Result<void> commit_with_settings(const Container& container, const Settings& settings);
  /// Writes `settings` in place of those that the row has.
  base::Result<void> commit_settings(const Container& container, const Settings& settings);

  /// Reads all rows of an earlier daemon; adds no container. Rows of which something is wrong come
  /// last, so that the others get their names.
  base::Result<std::vector<ContainerRow>> read_rows();
  /// Writes what is wrong with rows into the log, and into the database for whoever looks there.
  void mark_damaged(const std::vector<ContainerRow>& rows);

 private:
  Database& database_;
  Volumes& volumes_;
  std::map<std::string, ContainerPtr> by_id_;
  std::map<std::string, std::string, std::less<>> names_;  // name -> id
};

/// The IDs of those containers that run, to tell which images are in use.
std::set<std::string> running_ids(const std::vector<ContainerPtr>& containers);

}  // namespace engine
