// Containers: update.
#include <nlohmann/json.hpp>

#include "api/engine/containers/container_row.h"
#include "api/engine/containers/containers.h"
#include "api/engine/containers/machine_spec.h"
#include "api/engine/resources/usage.h"
#include "api/engine/settings/block_io.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// What only a bigger machine could give: the machine of a running container does not grow.
Result<void> check_machine_gives(const Settings& settings, const Usage& usage,
                                 std::uint64_t machine_bytes) {
  const nlohmann::json& host = settings.host_config;
  const auto memory = host.at("Memory").get<std::uint64_t>();
  if (memory > machine_bytes)
    return Error{Code::kInvalidArgument,
                 "the running container's machine has " + std::to_string(machine_bytes >> 20) +
                     " MiB of memory: stop the container before raising its limit beyond that"};
  const auto nano_cpus = host.at("NanoCpus").get<std::uint64_t>();
  if (nano_cpus > usage.cpus * std::uint64_t{1'000'000'000})
    return Error{Code::kInvalidArgument,
                 "the running container's machine has " + std::to_string(usage.cpus) +
                     " CPUs: stop the container before raising its limit beyond that"};
  return {};
}

}  // namespace

net::awaitable<Result<void>> Containers::limit_machine(ContainerPtr container, Settings wanted) {
  const std::shared_ptr<Machine> machine = container->machine;
  const auto statistics = co_await machine->statistics(kMainContainer);
  if (!statistics) co_return statistics.error();
  protocol::Statistics unlimited = *statistics;
  unlimited.memory_max = "max";
  const Usage usage = parse_usage(unlimited);
  const auto possible = check_machine_gives(wanted, usage, usage.memory_limit_bytes);
  if (!possible) co_return possible.error();
  auto limits = limits_for(wanted, storage_of(*container));
  if (!limits) co_return std::move(limits).error();
  const auto weights = group_weights_for(wanted.host_config);
  if (!weights) co_return weights.error();
  RETURN_IF_ERROR_ASYNC(machine->set_weights(*weights));
  co_return co_await machine->update_limits(kMainContainer, *std::move(limits));
}

net::awaitable<Result<void>> Containers::update(ContainerPtr container, nlohmann::json changes) {
  const auto lock = co_await container->transition.lock();
  if (container->removed) co_return no_such_container(container->id);
  RETURN_IF_ERROR_ASYNC(check_not_set_aside(*container));
  auto wanted = update_settings(container->settings, changes);
  if (!wanted) co_return std::move(wanted).error();
  RETURN_IF_ERROR_ASYNC(check_limit(*wanted));
  if (container->state.running() && container->machine) {
    auto limited = co_await limit_machine(container, *wanted);
    if (!limited)
      co_return base::annotate(std::move(limited), "Cannot update container " + container->id);
  }
  auto stored = parts_.database.run("UPDATE containers SET settings = ? WHERE id = ?",
                                    {settings_text(*wanted), container->id});
  if (!stored) co_return std::move(stored).error();
  container->settings = *std::move(wanted);
  publish(*container, "update");
  container->changed.notify_all();
  co_return Result<void>();
}

}  // namespace engine
