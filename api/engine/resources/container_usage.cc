#include "api/engine/resources/container_usage.h"

#include <fstream>
#include <memory>
#include <string>

#include "api/engine/container/state_errors.h"

namespace engine {

using base::Result;

namespace {

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
std::uint64_t host_cpu_ns() {
  std::ifstream file("/proc/stat");
  std::string name;
  file >> name;
  std::uint64_t ticks = 0;
  for (int field = 0; field < 8; ++field) {
    std::uint64_t value = 0;
    file >> value;
    ticks += value;
  }
  constexpr std::uint64_t kNsPerTick = 10'000'000;  // USER_HZ is 100 on every Linux
  return ticks * kNsPerTick;
}

}  // namespace

net::awaitable<UsageSample> sample_usage(ContainerPtr container) {
  UsageSample sample;
  const std::shared_ptr<Machine> machine = container->run.machine;
  if (machine && container->state.running()) {
    const auto statistics = co_await machine->statistics(container->state.machine.number);
    if (statistics) sample.usage = parse_usage(*statistics);
  }
  sample.time = now_ns();
  sample.host_cpu_ns = host_cpu_ns();
  co_return sample;
}

net::awaitable<Result<protocol::ProcessList>> list_processes(ContainerPtr container) {
  const std::shared_ptr<Machine> machine = container->run.machine;
  if (container->state.status == Status::kRestarting) co_return restarting(*container);
  if (!container->state.running() || !machine) co_return not_running(*container);
  co_return co_await machine->processes(container->state.machine.number);
}

}  // namespace engine
