#include "api/engine/containers/containers.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "api/engine/container/container_row.h"
#include "api/engine/container/machine_spec.h"
#include "api/engine/container/state_errors.h"
#include "api/engine/containers/recovery.h"
#include "api/engine/resources/usage.h"
#include "api/engine/settings/limits.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// What only a bigger machine could give: the machine of a running container does not grow.
Result<void> check_machine_gives(const Limits& limits, const Usage& usage,
                                 std::uint64_t machine_bytes) {
  if (limits.guest.memory_bytes > machine_bytes)
    return Error{Code::kInvalidArgument,
                 "the running container's machine has " + std::to_string(machine_bytes >> 20) +
                     " MiB of memory: stop the container before raising its limit beyond that"};
  if (limits.nano_cpus > std::int64_t{usage.cpus} * 1'000'000'000)
    return Error{Code::kInvalidArgument,
                 "the running container's machine has " + std::to_string(usage.cpus) +
                     " CPUs: stop the container before raising its limit beyond that"};
  return {};
}

net::awaitable<Result<void>> limit_machine(ContainerPtr container, Limits wanted) {
  const std::shared_ptr<Machine> machine = container->run.machine;
  const ContainerNumber number = container->state.machine.number;
  const auto statistics = co_await machine->statistics(number);
  if (!statistics) co_return statistics.error();
  protocol::Statistics unlimited = *statistics;
  unlimited.memory_max = "max";
  const Usage usage = parse_usage(unlimited);
  const auto possible = check_machine_gives(wanted, usage, usage.memory_limit_bytes);
  if (!possible) co_return possible.error();
  auto limits = limits_for(wanted, storage_of(*container));
  if (!limits) co_return std::move(limits).error();
  const auto weights = group_weights_for(wanted);
  if (!weights) co_return weights.error();
  if (container->state.machine.own())
    if (auto set = co_await machine->set_weights(*weights); !set) co_return std::move(set).error();
  co_return co_await machine->update_limits(number, *std::move(limits));
}

}  // namespace

Containers::Containers(EngineParts parts)
    : events_(parts.events),
      background_(parts.executor),
      table_(parts.database, parts.volumes),
      storage_(ContainerStorage::Parts{.executor = parts.executor,
                                       .pool = parts.pool,
                                       .images = parts.images,
                                       .disks = parts.machines.disks(),
                                       .directory = std::move(parts.directory)}),
      volumes_(parts.volumes, parts.machines.machines(), table_, background_),
      attachments_({.networks = parts.machines.networks(),
                    .catalog = parts.networks,
                    .containers = [this] { return table_.list(); },
                    .find = [this](std::string_view id) { return table_.find(id); },
                    .commit =
                        [this](const Container& container, const Settings& settings) {
                          return table_.commit_with_settings(container, settings);
                        }}),
      launcher_(Launcher::Parts{.machines = parts.machines.machines(),
                                .attachments = attachments_,
                                .catalog = parts.networks,
                                .seccomp = parts.seccomp,
                                .table = table_,
                                .storage = storage_,
                                .volumes = volumes_,
                                .events = events_,
                                .default_shape = parts.default_shape,
                                .shared_bytes = parts.shared_bytes,
                                .host_memory = std::move(parts.host_memory)}),
      health_(table_, events_),
      pauses_(table_, events_),
      runs_(Runs::Parts{.launcher = launcher_,
                        .attachments = attachments_,
                        .table = table_,
                        .volumes = volumes_,
                        .health = health_,
                        .pauses = pauses_,
                        .catalog = parts.networks,
                        .events = events_,
                        .background = background_,
                        .patience = parts.patience}),
      removal_(Removal::Parts{.table = table_,
                              .storage = storage_,
                              .volumes = volumes_,
                              .runs = runs_,
                              .events = events_,
                              .background = background_,
                              .patience = parts.patience}),
      policies_(table_, volumes_, runs_, removal_, background_),
      files_(ContainerFiles::Parts{.executor = parts.executor,
                                   .launcher = launcher_,
                                   .claims = volumes_.claims(),
                                   .background = background_,
                                   .patience = parts.patience}) {
  runs_.follow_policy(policies_);
}

net::awaitable<Result<void>> Containers::recover() {
  co_await launcher_.prepare();  // before containers run by themselves
  Recovery recovery(Recovery::Parts{.table = table_,
                                    .storage = storage_,
                                    .volumes = volumes_,
                                    .launcher = launcher_,
                                    .runs = runs_,
                                    .removal = removal_,
                                    .policies = policies_});
  auto recovered = co_await recovery.run();
  if (!recovered) co_return recovered;
  for (const ContainerPtr& container : list())
    if (container->state.running() && container->state.machine.own())
      background_.spawn("networks of " + container->short_id(), restore_networks(container));
  co_return recovered;
}

net::awaitable<void> Containers::restore_networks(ContainerPtr container) {
  const auto lock = co_await container->run.transition.lock();
  if (background_.ending() || !container->state.running() || container->run.machine == nullptr)
    co_return;
  co_await attachments_.restore(container);
}

net::awaitable<void> Containers::shut_down() {
  background_.begin_end();
  for (const ContainerPtr& container : list()) {
    container->changed.notify_all();  // wakes those that wait to be restarted
    if (container->state.running())
      background_.spawn("stop " + container->short_id(), runs_.stop_at_shutdown(container));
  }
  co_await background_.drained();
}

net::awaitable<void> Containers::let_go() {
  background_.begin_end();
  for (const ContainerPtr& container : list()) {
    container->changed.notify_all();  // wakes those that wait to be restarted
    auto lock = co_await container->run.transition.lock();
    background_.keep(std::move(lock));
  }
}

net::awaitable<Result<ContainerPtr>> Containers::create(CreateRequest request) {
  const ContainerPtr container = storage_.new_container(random_id());
  auto image = co_await storage_.resolve(request.settings.image);
  if (!image) co_return std::move(image).error();
  auto settings =
      settings_with_defaults(request.settings, image->config.defaults, container->short_id());
  if (!settings) co_return std::move(settings).error();
  settings = settings_with_ids(*settings, [this](const std::string& named) {
    const auto found = table_.find(named);
    return found ? std::optional((*found)->id) : std::nullopt;
  });
  if (!settings) co_return std::move(settings).error();
  container->settings = *std::move(settings);
  container->origin.image_id = image->id;
  container->origin.created = now_ns();
  container->state.of_build = request.of_build;
  storage_.place(*container);
  RETURN_IF_ERROR_ASYNC(launcher_.check(container->settings));

  auto name = table_.choose_name(request.name, container->id);
  if (!name) co_return std::move(name).error();
  container->name = *std::move(name);
  Result<void> made = co_await storage_.make(container);
  if (made && !request.files_only) made = co_await volumes_.make(container);
  if (made) made = table_.insert(*container, volumes_.unstored(*container));
  if (!made) {
    table_.free_name(container->name);
    std::vector<VolumePtr> unstored = volumes_.unstored(*container);
    co_await volumes_.drop(container, std::move(unstored));
    co_await storage_.drop(container);
    co_return std::move(made).error();
  }
  table_.add(container);
  publish(*container, "create");
  co_return container;
}

Result<void> Containers::rename(ContainerPtr container, std::string name) {
  if (name.empty()) return Error{Code::kInvalidArgument, "Neither old nor new names may be empty"};
  if (container->removal.done || container->state.status == Status::kRemoving)
    return no_such_container(container->id);
  const std::string bare = name.front() == '/' ? name.substr(1) : name;
  if (bare == container->name)
    return Error{Code::kInvalidArgument,
                 "Renaming a container with the same name as its current name"};
  const auto old = table_.rename(*container, "/" + bare);
  if (!old) return old.error();
  attachments_.renamed(*container);
  publish(*container, "rename", {{"oldName", "/" + *old}});
  return {};
}

Result<void> Containers::replace_settings(Container& container, Settings settings) {
  RETURN_IF_ERROR(table_.commit_settings(container, settings));
  container.settings = std::move(settings);
  return {};
}

net::awaitable<Result<void>> Containers::update(ContainerPtr container, nlohmann::json changes) {
  const auto lock = co_await container->run.transition.lock();
  if (container->removal.done) co_return no_such_container(container->id);
  RETURN_IF_ERROR_ASYNC(check_not_set_aside(*container));
  auto wanted = updated_settings(container->settings, changes);
  if (!wanted) co_return std::move(wanted).error();
  RETURN_IF_ERROR_ASYNC(launcher_.check_limit(wanted->limits));
  if (container->state.running() && container->run.machine) {
    auto limited = co_await limit_machine(container, wanted->limits);
    if (!limited)
      co_return base::annotate(std::move(limited), "Cannot update container " + container->id);
  }
  auto stored = table_.commit_settings(*container, *wanted);
  if (!stored) co_return std::move(stored).error();
  container->settings = *std::move(wanted);
  publish(*container, "update");
  container->changed.notify_all();
  co_return Result<void>();
}

Result<void> Containers::keep_after_build(ContainerPtr container) {
  container->state.of_build = false;
  return table_.commit(*container);
}

}  // namespace engine
