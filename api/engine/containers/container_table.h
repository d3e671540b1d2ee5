// ContainerTable: which containers there are, by ID and by name, and their rows in the database.
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

  /// By full ID, name (with or without a leading slash), or unique ID prefix.
  base::Result<ContainerPtr> find(std::string_view name) const;
  /// Newest first.
  std::vector<ContainerPtr> list() const;

  /// Takes the name for the container `id`; empty: a random one. It is free_name()d unless the
  /// container is added.
  base::Result<std::string> choose_name(const std::string& wanted, const std::string& id);
  void free_name(const std::string& name) { names_.erase(name); }
  bool has_name(std::string_view name) const { return names_.contains(name); }
  /// Another name; the old one is free then, and the answer.
  base::Result<std::string> rename(Container& container, const std::string& name);

  /// It is found from now on, or no longer. The rows are insert()ed and erase()d apart from that.
  void add(const ContainerPtr& container);
  void remove(const Container& container);

  /// Its row, and those of `volumes`, which were made for it.
  base::Result<void> insert(const Container& container, const std::vector<VolumePtr>& volumes);
  /// Its row, and those of `volumes`.
  base::Result<void> erase(const Container& container, const std::vector<VolumePtr>& volumes);
  /// Its state as it is now.
  base::Result<void> commit(const Container& container);
  /// The same where nobody can be told of an Error: it goes to the log.
  void commit_or_log(const Container& container);
  /// `settings` instead of what its row has.
  base::Result<void> commit_settings(const Container& container, const Settings& settings);

  /// All rows of an earlier daemon; nothing is added. Those of which something is wrong come last,
  /// so that the others have their names.
  base::Result<std::vector<ContainerRow>> read_rows();
  /// What is wrong with rows, in the log and in the database for whoever looks there.
  void mark_damaged(const std::vector<ContainerRow>& rows);

 private:
  Database& database_;
  Volumes& volumes_;
  std::map<std::string, ContainerPtr> by_id_;
  std::map<std::string, std::string, std::less<>> names_;  // name -> id
};

/// IDs of those that run, for images in use.
std::set<std::string> running_ids(const std::vector<ContainerPtr>& containers);

}  // namespace engine
