#include "api/engine/containers/containers.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>

#include "api/engine/containers/machine_spec.h"
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

base::Error no_such_container(std::string_view name) {
  return Error{Code::kNotFound, "No such container: " + std::string(name.substr(0, 256))};
}

Containers::Containers(EngineParts parts) : parts_(std::move(parts)), tasks_(parts_.executor) {}

Containers::~Containers() = default;

Result<std::string> Containers::choose_name(const std::string& wanted, const std::string& id) {
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

Result<void> Containers::check_limit(const Settings& settings) const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_limit(settings.host_config.at("Memory").get<std::uint64_t>(), *memory);
}

/// For one more machine.
Result<void> Containers::check_room() const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_machine(*memory);
}

net::awaitable<Result<void>> Containers::make_files(ContainerPtr container) {
  if (::mkdir(container->directory.c_str(), 0700) != 0)
    co_return base::errno_error("mkdir " + container->directory.string());
  const auto bytes = container->settings.disk_bytes();
  if (!bytes) co_return bytes.error();
  auto created = co_await parts_.disks.create(container->disk(), *bytes);
  if (!created) co_return base::annotate(std::move(created), "writable layer");
  // From here on the image's layers stay until this container is removed.
  const std::function<Result<images::Image>()> hold = [&store = parts_.images, container] {
    return store.hold(container->id, container->image_id);
  };
  auto held = co_await parts_.pool.run(hold);
  if (!held) co_return std::move(held).error();
  for (const images::LayerFile& layer : held->layers)
    container->layers.push_back(LayerFile{.path = layer.path, .bytes = layer.bytes});
  co_return Result<void>();
}

net::awaitable<void> Containers::drop_files(ContainerPtr container) {
  const std::function<Result<void>()> drop = [&store = parts_.images, container]() -> Result<void> {
    std::error_code error;
    std::filesystem::remove_all(container->directory, error);
    if (error) spdlog::error("remove {}: {}", container->directory.string(), error.message());
    return store.release(container->id);
  };
  const auto released = co_await parts_.pool.run(drop);
  if (!released) spdlog::error("release image: {}", released.error().message);
}

void Containers::make_log(Container& container) {
  if (container.settings.logs())
    container.log = std::make_shared<ContainerLog>(parts_.executor, container.log_path(),
                                                   LogPools{.prompt = logs_, .bulk = bulk_logs_});
}

/// Its output goes to the log, from the start of a run or (`resumed`) from where an earlier daemon
/// left it: then the answer says where that is, if it is known.
net::awaitable<Result<std::optional<LogPosition::Streams>>> Containers::begin_log(
    ContainerPtr container, bool resumed) {
  std::optional<LogPosition::Streams> logged;
  if (!container->log) co_return logged;
  const Settings& settings = container->settings;
  LogSubject subject{.id = container->id,
                     .name = container->name,
                     .image_id = container->image_id,
                     .image_name = settings.image(),
                     .command = settings.command_line(),
                     .env = settings.strings("Env"),
                     .labels = {}};
  for (const auto& [key, value] : settings.config.at("Labels").items())
    if (value.is_string()) subject.labels.emplace(key, value.get<std::string>());
  auto wanted = log_settings_for(settings.host_config.at("LogConfig"), subject);
  if (!wanted)
    co_return base::annotate(std::move(wanted).error(), "failed to initialize logging driver");
  if (!wanted->remark.empty())
    spdlog::warn("container {}: log options: {}", container->short_id(), wanted->remark);
  if (resumed) {
    logged = co_await container->log->resume(*std::move(wanted));
  } else {
    co_await container->log->begin(*std::move(wanted));
  }
  container->output->log_to(container->log);
  co_return logged;
}

/// Its row, and those of the volumes that were made for it.
Result<void> Containers::insert(const Container& container) {
  std::vector<VolumePtr> made = own_volumes(container);
  std::erase_if(made, [](const VolumePtr& volume) { return volume->stored; });
  const auto rows = [&]() -> Result<void> {
    for (const VolumePtr& volume : made) RETURN_IF_ERROR(parts_.volumes.insert_row(*volume));
    return parts_.database.run(
        "INSERT INTO containers (id, name, created_ns, image_id, settings, state, mounts) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        {container.id, container.name, container.created, container.image_id,
         settings_text(container.settings), to_json_text(container.state),
         to_json(container.mounts).dump()});
  };
  RETURN_IF_ERROR(parts_.database.transaction(rows));
  for (const VolumePtr& volume : made) parts_.volumes.set_stored(*volume);
  return {};
}

/// Its row, and those of `volumes`.
Result<void> Containers::erase(const Container& container, const std::vector<VolumePtr>& volumes) {
  return parts_.database.transaction([&]() -> Result<void> {
    for (const VolumePtr& volume : volumes) RETURN_IF_ERROR(parts_.volumes.erase_row(*volume));
    return parts_.database.run("DELETE FROM containers WHERE id = ?", {container.id});
  });
}

Result<void> Containers::commit(const Container& container) {
  if (!container.damage.empty()) return {};  // its row stays as it was found
  return parts_.database.run("UPDATE containers SET state = ? WHERE id = ?",
                             {to_json_text(container.state), container.id});
}

net::awaitable<Result<ContainerPtr>> Containers::create(CreateRequest request) {
  const auto container = std::make_shared<Container>(parts_.executor, random_id());
  const std::function<Result<images::Image>()> resolve =
      [&store = parts_.images, name = request.settings.image()]() -> Result<images::Image> {
    auto found = store.resolve(name);
    if (found) RETURN_IF_ERROR(store.may_run(found->id));
    return found;
  };
  auto image = co_await parts_.pool.run(resolve);
  if (!image) co_return std::move(image).error();
  RETURN_IF_ERROR_ASYNC(apply_image_defaults(request.settings, image->config.defaults));
  container->settings = std::move(request.settings);
  if (container->settings.text("Hostname").empty())
    container->settings.config["Hostname"] = container->short_id();
  fill_in_default_paths(container->settings.host_config);
  container->image_id = image->id;
  container->created = now_ns();
  container->state.of_build = request.of_build;
  container->directory = parts_.directory / container->id;
  container->output = std::make_shared<OutputHub>(parts_.executor);
  make_log(*container);
  RETURN_IF_ERROR_ASYNC(check_limit(container->settings));
  // What would only fail at start is better said now.
  const StartContext trial{
      .endpoint = std::nullopt, .resolv_conf = {}, .default_shape = parts_.default_shape};
  const auto possible = machine_spec_for(*container, trial);
  if (!possible) co_return possible.error();

  auto name = choose_name(request.name, container->id);
  if (!name) co_return std::move(name).error();
  container->name = *std::move(name);
  Result<void> made = co_await make_files(container);
  if (made && !request.files_only) made = co_await make_mounts(container);
  if (made) made = insert(*container);
  if (!made) {
    names_.erase(container->name);
    std::vector<VolumePtr> own = own_volumes(*container);
    std::erase_if(own, [](const VolumePtr& volume) { return volume->stored; });
    co_await drop_mounts(container, std::move(own));
    co_await drop_files(container);
    co_return std::move(made).error();
  }
  by_id_.emplace(container->id, container);
  publish(*container, "create");
  co_return container;
}

Result<ContainerPtr> Containers::find(std::string_view name) const {
  if (name.empty()) return Error{Code::kInvalidArgument, "No container name or ID supplied"};
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

std::vector<ContainerPtr> Containers::list() const {
  std::vector<ContainerPtr> all;
  for (const auto& [id, container] : by_id_) all.push_back(container);
  std::sort(all.begin(), all.end(),
            [](const ContainerPtr& a, const ContainerPtr& b) { return a->created > b->created; });
  return all;
}

Result<void> Containers::rename(ContainerPtr container, std::string name) {
  if (name.empty()) return Error{Code::kInvalidArgument, "Neither old nor new names may be empty"};
  if (container->removed || container->state.status == Status::kRemoving)
    return no_such_container(container->id);
  const std::string bare = name.front() == '/' ? name.substr(1) : name;
  if (bare == container->name)
    return Error{Code::kInvalidArgument,
                 "Renaming a container with the same name as its current name"};
  auto chosen = choose_name("/" + bare, container->id);
  if (!chosen) return base::annotate(std::move(chosen).error(), "Error when allocating new name");
  auto changed =
      parts_.database.run("UPDATE containers SET name = ? WHERE id = ?", {*chosen, container->id});
  if (!changed) {
    names_.erase(*chosen);
    return changed;
  }
  const std::string old = std::exchange(container->name, *std::move(chosen));
  names_.erase(old);
  publish(*container, "rename", {{"oldName", "/" + old}});
  return {};
}

Result<void> Containers::keep_after_build(ContainerPtr container) {
  container->state.of_build = false;
  return commit(*container);
}

}  // namespace engine
