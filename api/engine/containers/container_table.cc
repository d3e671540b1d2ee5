#include "api/engine/containers/container_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/engine/container/state_errors.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

std::set<std::string> running_ids(const std::vector<ContainerPtr>& containers) {
  std::set<std::string> ids;
  for (const ContainerPtr& container : containers)
    if (container->state.running()) ids.insert(container->id);
  return ids;
}

Result<ContainerPtr> ContainerTable::find(std::string_view name) const {
  if (name.empty()) return Error{Code::kInvalidArgument, "invalid name or ID supplied: \"\""};
  if (const auto exact = by_id_.find(std::string(name)); exact != by_id_.end())
    return exact->second;
  const std::string_view bare = name.starts_with('/') ? name.substr(1) : name;
  if (const auto named = names_.find(bare); named != names_.end())
    if (const auto found = by_id_.find(named->second); found != by_id_.end()) return found->second;
  const auto first = by_id_.lower_bound(std::string(name));
  if (first == by_id_.end() || !first->first.starts_with(name)) return no_such_container(name);
  const auto second = std::next(first);
  if (second != by_id_.end() && second->first.starts_with(name))
    return Error{Code::kInvalidArgument,
                 "multiple IDs found with provided prefix: " + std::string(name)};
  return first->second;
}

std::vector<ContainerPtr> ContainerTable::list() const {
  std::vector<ContainerPtr> all;
  for (const auto& [id, container] : by_id_) all.push_back(container);
  std::sort(all.begin(), all.end(), [](const ContainerPtr& a, const ContainerPtr& b) {
    return a->origin.created > b->origin.created;
  });
  return all;
}

Result<std::string> ContainerTable::choose_name(const std::string& wanted, const std::string& id) {
  if (wanted.empty()) {
    for (int attempt = 0; attempt < 100; ++attempt) {
      std::string name = random_name(attempt);
      if (names_.emplace(name, id).second) return name;
    }
    names_.emplace(id.substr(0, 12), id);
    return id.substr(0, 12);
  }
  const std::string name = wanted.front() == '/' ? wanted.substr(1) : wanted;
  if (!is_valid_name(name))
    return Error{Code::kInvalidArgument, "Invalid container name (" + wanted.substr(0, 256) +
                                             "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"};
  const auto [taken, inserted] = names_.emplace(name, id);
  if (!inserted)
    return Error{Code::kConflict, "Conflict. The container name \"/" + name +
                                      "\" is already in use by container \"" + taken->second +
                                      "\". You have to remove (or rename) that container to be "
                                      "able to reuse that name."};
  return name;
}

Result<std::string> ContainerTable::rename(Container& container, const std::string& name) {
  auto chosen = choose_name(name, container.id);
  if (!chosen) return base::annotate(std::move(chosen).error(), "Error when allocating new name");
  auto changed =
      database_.run("UPDATE containers SET name = ? WHERE id = ?", {*chosen, container.id});
  if (!changed) {
    names_.erase(*chosen);
    return std::move(changed).error();
  }
  const std::string old = std::exchange(container.name, *std::move(chosen));
  names_.erase(old);
  return old;
}

void ContainerTable::add(const ContainerPtr& container) {
  by_id_.emplace(container->id, container);
  names_.emplace(container->name, container->id);
}

void ContainerTable::remove(const Container& container) {
  by_id_.erase(container.id);
  names_.erase(container.name);
}

Result<void> ContainerTable::insert(const Container& container,
                                    const std::vector<VolumePtr>& volumes) {
  const auto rows = [&]() -> Result<void> {
    for (const VolumePtr& volume : volumes) RETURN_IF_ERROR(volumes_.insert_row(*volume));
    return database_.run(
        "INSERT INTO containers (id, name, created_ns, image_id, settings, state, mounts) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        {container.id, container.name, container.origin.created, container.origin.image_id,
         settings_text(container.settings), to_json_text(container.state),
         to_json(container.mounts).dump()});
  };
  RETURN_IF_ERROR(database_.transaction(rows));
  for (const VolumePtr& volume : volumes) volumes_.set_stored(*volume);
  return {};
}

Result<void> ContainerTable::erase(const Container& container,
                                   const std::vector<VolumePtr>& volumes) {
  return database_.transaction([&]() -> Result<void> {
    for (const VolumePtr& volume : volumes) RETURN_IF_ERROR(volumes_.erase_row(*volume));
    return database_.run("DELETE FROM containers WHERE id = ?", {container.id});
  });
}

Result<void> ContainerTable::commit(const Container& container) {
  if (!container.damage.empty()) return {};  // its row stays as it was found
  return database_.run("UPDATE containers SET state = ? WHERE id = ?",
                       {to_json_text(container.state), container.id});
}

void ContainerTable::commit_or_log(const Container& container) {
  if (const auto committed = commit(container); !committed)
    spdlog::error("{}", committed.error().message);
}

Result<void> ContainerTable::commit_with_settings(const Container& container,
                                                  const Settings& settings) {
  return database_.transaction([&]() -> Result<void> {
    RETURN_IF_ERROR(commit(container));
    return commit_settings(container, settings);
  });
}

Result<void> ContainerTable::commit_settings(const Container& container, const Settings& settings) {
  return database_.run("UPDATE containers SET settings = ? WHERE id = ?",
                       {settings_text(settings), container.id});
}

Result<std::vector<ContainerRow>> ContainerTable::read_rows() {
  std::vector<ContainerRow> rows;
  auto read = database_.run(kContainerRows, {}, [&](const Database::Row& row) {
    rows.push_back(read_container_row(row));
  });
  if (!read) return std::move(read).error();
  std::stable_partition(rows.begin(), rows.end(),
                        [](const ContainerRow& row) { return row.damage.empty(); });
  return rows;
}

void ContainerTable::mark_damaged(const std::vector<ContainerRow>& rows) {
  const auto mark = [&]() -> Result<void> {
    for (const ContainerRow& row : rows) {
      if (!row.damage.empty())
        spdlog::error("container {} ({}) is set aside: {}", row.id, row.name, row.damage);
      if (row.damage.empty() && !row.marked.empty())
        spdlog::info("container {} ({}) is no longer set aside", row.id, row.name);
      if (row.damage != row.marked)
        RETURN_IF_ERROR(
            database_.run("UPDATE containers SET damage = ? WHERE id = ?", {row.damage, row.id}));
    }
    return {};
  };
  if (const auto marked = database_.transaction(mark); !marked)
    spdlog::error("mark damaged rows: {}", marked.error().message);
}

}  // namespace engine
