// Containers: after a restart of the daemon, and before its end.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>

#include "api/async/slots.h"
#include "api/async/task_group.h"
#include "api/engine/containers/container_files.h"
#include "api/engine/containers/container_row.h"
#include "api/engine/containers/containers.h"
#include "api/engine/security/capabilities.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {
constexpr std::size_t kRecoveriesAtOnce = 16;
/// However long a container's own timeout is: the daemon's end waits for all of them.
constexpr std::chrono::seconds kLongestStop{120};

/// A row whose ID is damaged may be that of any directory, and hold any image.
bool all_are_ids(const std::set<std::string>& ids) {
  return std::all_of(ids.begin(), ids.end(), [](const std::string& id) {
    ContainerRow row;
    row.id = id;
    return has_valid_id(row);
  });
}

}  // namespace

Result<std::set<std::string>> Containers::load() {
  std::vector<ContainerRow> rows;
  auto read = parts_.database.run(kContainerRows, {}, [&](const Database::Row& row) {
    rows.push_back(read_container_row(row));
  });
  if (!read) return std::move(read).error();
  // The others choose their names first.
  std::stable_partition(rows.begin(), rows.end(),
                        [](const ContainerRow& row) { return row.damage.empty(); });
  std::set<std::string> ids;
  for (ContainerRow& row : rows) {
    ids.insert(row.id);
    look_for_files(row);
    if (has_valid_id(row)) take_row(row);
  }
  mark_damaged(rows);
  return ids;
}

/// A container without its disk never runs again.
void Containers::look_for_files(ContainerRow& row) const {
  std::error_code error;
  const auto directory = parts_.directory / row.id;
  if (row.damage.empty() && !std::filesystem::is_directory(directory, error))
    row.damage = "its directory " + directory.string() + " is gone";
}

void Containers::take_row(const ContainerRow& row) {
  const auto container = std::make_shared<Container>(parts_.executor, row.id);
  container->name = row.name;
  container->created = row.created;
  container->image_id = row.image_id;
  container->settings = row.settings;
  container->state = row.state;
  container->mounts = row.mounts;
  for (const MountPoint& mount : container->mounts) parts_.volumes.use(mount.volume, container->id);
  if (!row.damage.empty()) set_aside(*container, row);
  container->directory = parts_.directory / container->id;
  container->output = std::make_shared<OutputHub>(parts_.executor);
  make_log(*container);
  by_id_.emplace(container->id, container);
  names_.emplace(container->name, container->id);
}

void Containers::set_aside(Container& container, const ContainerRow& row) {
  container.damage = row.damage;
  container.state.status = Status::kDead;
  container.state.error = "its record is damaged: " + row.damage;
  container.state.pid = 0;
  container.state.endpoint.reset();
  if (container.settings.image().empty()) container.settings.config["Image"] = row.image_id;
  if (!is_valid_name(row.name) || names_.contains(row.name)) container.name = container.short_id();
  if (names_.contains(container.name)) container.name = container.id;
  // Nobody shall prune what it may have written.
  for (const VolumePtr& volume : parts_.volumes.list())
    if (mentions_volume(row.mounts_text, volume->name))
      parts_.volumes.use(volume->name, container.id);
}

/// In the log, and in the database for whoever looks there.
void Containers::mark_damaged(const std::vector<ContainerRow>& rows) {
  const auto mark = [&]() -> Result<void> {
    for (const ContainerRow& row : rows) {
      if (!row.damage.empty())
        spdlog::error("container {} ({}) is set aside: {}", row.id, row.name, row.damage);
      if (row.damage.empty() && !row.marked.empty())
        spdlog::info("container {} ({}) is no longer set aside", row.id, row.name);
      if (row.damage != row.marked)
        RETURN_IF_ERROR(parts_.database.run("UPDATE containers SET damage = ? WHERE id = ?",
                                            {row.damage, row.id}));
    }
    return {};
  };
  if (const auto marked = parts_.database.transaction(mark); !marked)
    spdlog::error("mark damaged rows: {}", marked.error().message);
}

/// Directories of containers whose creation or removal did not come to its end.
void Containers::drop_unknown_directories(const std::set<std::string>& known) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parts_.directory, error)) {
    if (known.contains(entry.path().filename().string())) continue;
    spdlog::info("removing the remains of container {}", entry.path().filename().string());
    std::filesystem::remove_all(entry.path(), error);
  }
}

/// Most containers have the default filter; none of them shall wait for it.
net::awaitable<void> Containers::prepare_seccomp() {
  const auto filter = co_await parts_.seccomp.get(std::string(), kDefaultCapabilities);
  if (!filter) spdlog::error("the default seccomp profile: {}", filter.error().message);
}

net::awaitable<Result<void>> Containers::recover() {
  co_await prepare_seccomp();  // before containers run by themselves
  const auto ids = load();
  if (!ids) co_return ids.error();
  const bool all_known = all_are_ids(*ids);
  if (all_known) drop_unknown_directories(*ids);
  std::set<std::string> restarting;
  for (const auto& [id, container] : by_id_)
    if (container->state.status == Status::kRestarting) restarting.insert(id);
  const std::function<Result<void>()> retain = [&store = parts_.images, known = *ids] {
    return store.retain_only(known);
  };
  if (all_known) {
    auto kept = co_await parts_.pool.run(retain);
    if (!kept) co_return base::annotate(std::move(kept), "images in use");
  }

  // At once, so that a machine that does not answer holds up no other.
  async::TaskGroup recovering(parts_.executor);
  async::Slots slots(parts_.executor, kRecoveriesAtOnce);
  const auto ended = std::make_shared<std::vector<ContainerPtr>>();
  for (const ContainerPtr& container : list())
    recovering.spawn("container " + container->short_id(),
                     recover_one(container, slots.take(), ended));
  co_await recovering.drained();
  co_await parts_.machines.remove_left_over();
  // Only now is it known which addresses are taken.
  for (const ContainerPtr& container : *ended)
    if (!container->state.of_build) resume_policy(container, restarting.contains(container->id));
  for (const ContainerPtr& container : list())
    if (container->state.of_build)
      tasks_.spawn("remove " + container->short_id(), remove_of_build(container));
  co_return Result<void>();
}

net::awaitable<void> Containers::recover_one(ContainerPtr container,
                                             net::awaitable<async::Slots::Slot> turn,
                                             std::shared_ptr<std::vector<ContainerPtr>> ended) {
  const async::Slots::Slot slot = co_await std::move(turn);
  const std::function<Result<std::vector<images::LayerFile>>()> find_layers =
      [&store = parts_.images, container] { return store.held_layers(container->id); };
  const auto layers = co_await parts_.pool.run(find_layers);
  if (!layers) {
    spdlog::error("container {}: {}", container->short_id(), layers.error().message);
  } else {
    for (const images::LayerFile& layer : *layers)
      container->layers.push_back(LayerFile{.path = layer.path, .bytes = layer.bytes});
  }
  const bool runs = co_await take_over(container);
  if (!runs) ended->push_back(container);
}

/// The last daemon died between a container's exit and its machine's end: what the container wrote
/// may still be in the guest's memory only.
net::awaitable<void> Containers::end_left_over(ContainerPtr container) {
  const bool is_kept = !container->settings.auto_remove() && !container->state.of_build;
  if (!is_kept && !has_lasting_volumes(*container, true)) co_return;
  AdoptSpec spec;
  spec.id = container->id;
  spec.secret = container->state.machine_secret;
  const auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (!machine) co_return;  // there is none, or it ended
  spdlog::info("container {}: its machine is ended in order", container->short_id());
  co_await end_machine(container, *machine);
}

net::awaitable<bool> Containers::take_over(ContainerPtr container) {
  if (!container->state.running()) {
    co_await end_left_over(container);
    co_return false;
  }
  const auto logged = co_await begin_log(container, true);
  if (!logged) spdlog::error("container {}: {}", container->short_id(), logged.error().message);
  AdoptSpec spec{.id = container->id,
                 .endpoints = {},
                 .secret = container->state.machine_secret,
                 .processes = {},
                 .kill_unknown_from = kFirstFilesProcess};
  if (container->state.endpoint) spec.endpoints.push_back(*container->state.endpoint);
  AdoptSpec::Process process{.sink = container->output,
                             .open_stdin = container->settings.open_stdin(),
                             .stdout_bytes = std::nullopt,
                             .stderr_bytes = std::nullopt,
                             .tty = container->settings.tty()};
  if (logged && *logged) {
    process.stdout_bytes = (*logged)->out;
    process.stderr_bytes = (*logged)->err;
  }
  spec.processes.emplace(kMainProcess, std::move(process));
  auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (machine) {
    container->machine = *machine;
    hold_volumes(container);
    container->state.pid = (*machine)->monitor_pid();
    tasks_.spawn("container " + container->short_id(), follow(container, *machine, now_ns()));
    observe_run(container);
    co_await end_interrupted_commit(container);
    co_return true;
  }
  Result<protocol::ExitStatus> lost = std::move(machine).error();
  co_await record_exit(container, std::move(lost), now_ns());
  co_return false;
}

void Containers::resume_policy(const ContainerPtr& container, bool was_restarting) {
  if (!container->damage.empty()) return;  // for a person to decide
  if (container->settings.auto_remove() && container->state.status != Status::kCreated) {
    tasks_.spawn("remove " + container->short_id(), remove_by_itself(container));
    return;
  }
  // Stopped with the last daemon, not by a person: the policy says whether it runs again.
  const auto kind = container->settings.restart_policy().kind;
  const bool always = kind == RestartPolicy::Kind::kAlways;
  const bool unless_stopped =
      kind == RestartPolicy::Kind::kUnlessStopped && !container->state.manually_stopped;
  const bool ran = container->state.status == Status::kExited && container->state.started_at != 0;
  if (was_restarting || container->state.status == Status::kRestarting ||
      (ran && (always || unless_stopped))) {
    container->state.status = Status::kRestarting;
    tasks_.spawn("restart " + container->short_id(),
                 restart_later(container, std::chrono::milliseconds(0)));
  }
}

/// The build that it belonged to ended with an earlier daemon.
net::awaitable<void> Containers::remove_of_build(ContainerPtr container) {
  const auto removed = co_await remove(container, {.force = true, .volumes = true});
  if (!removed && !container->removed)
    spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
}

net::awaitable<void> Containers::stop_at_shutdown(ContainerPtr container) {
  const auto lock = co_await container->transition.lock();
  if (!container->state.running()) co_return;
  const bool was_stopped = container->state.manually_stopped;
  auto timeout = container->settings.stop_timeout();
  if (timeout.count() < 0 || timeout > kLongestStop) timeout = kLongestStop;
  const auto stopped = co_await stop_locked(container, timeout, container->settings.stop_signal());
  if (!stopped) spdlog::error("stop {}: {}", container->short_id(), stopped.error().message);
  container->state.manually_stopped = was_stopped;  // unless-stopped: it was not a person
  if (!container->removed)
    if (const auto committed = commit(*container); !committed)
      spdlog::error("{}", committed.error().message);
}

net::awaitable<void> Containers::shut_down() {
  shutting_down_ = true;
  for (const ContainerPtr& container : list()) {
    container->changed.notify_all();  // wakes those that wait to be restarted
    if (container->state.running())
      tasks_.spawn("stop " + container->short_id(), stop_at_shutdown(container));
  }
  co_await tasks_.drained();
}

net::awaitable<void> Containers::let_go() {
  shutting_down_ = true;
  for (const ContainerPtr& container : list()) {
    container->changed.notify_all();  // wakes those that wait to be restarted
    held_.push_back(co_await container->transition.lock());
  }
}

}  // namespace engine
