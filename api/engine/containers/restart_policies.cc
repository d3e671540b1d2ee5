#include "api/engine/containers/restart_policies.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>

#include "api/engine/container/container_waits.h"
#include "api/engine/sharing/donors.h"

namespace engine {

namespace {

constexpr std::chrono::milliseconds kFirstDelay{100};
constexpr std::chrono::milliseconds kLongestDelay{60'000};
/// How long a donor may take to be restarted, before it is not waited for any more.
constexpr std::chrono::milliseconds kDonorPatience{60'000};
/// The container itself may change, too.
constexpr std::chrono::milliseconds kLookAgain{500};
/// A run of this length counts as a success: the delay starts again from the shortest.
constexpr TimeNs kSuccess = 10'000'000'000;

}  // namespace

bool RestartPolicies::restarts(const Container& container) const {
  if (background_.ending() || container.removal.done || container.state.manually_stopped)
    return false;
  const RestartPolicy& policy = container.settings.restart_policy;
  switch (policy.kind) {
    case RestartPolicy::Kind::kNo:
      return false;
    case RestartPolicy::Kind::kAlways:
    case RestartPolicy::Kind::kUnlessStopped:
      return true;
    case RestartPolicy::Kind::kOnFailure:
      return container.state.exit_code != 0 &&
             (policy.maximum_retries == 0 ||
              container.state.restart_count < policy.maximum_retries);
  }
  return false;
}

void RestartPolicies::run_ended(const ContainerPtr& container, Machine& machine, TimeNs ran) {
  if (container->settings.auto_remove) {
    const bool written = volumes_.lasts(*container, true);
    if (!written && has_machine_alone(*container)) machine.kill();  // its disk goes anyway
    removal_.begin_auto_remove(container);
  } else if (restarts(*container)) {
    if (ran >= kSuccess) container->state.restart_count = 0;
    const auto doublings = std::min<std::int64_t>(container->state.restart_count, 16);
    const auto delay = std::min(kLongestDelay, kFirstDelay * (1 << doublings));
    background_.spawn("restart " + container->short_id(), restart_later(container, delay));
  }
}

void RestartPolicies::start_failed(const ContainerPtr& container) {
  if (container->settings.auto_remove) removal_.begin_auto_remove(container);
}

net::awaitable<void> RestartPolicies::restart_later(ContainerPtr container,
                                                    std::chrono::milliseconds delay) {
  const auto due = std::chrono::steady_clock::now() + delay;
  while (container->state.status == Status::kRestarting && !container->removal.done &&
         !background_.ending() && std::chrono::steady_clock::now() < due) {
    co_await wait_for_change(container, due);
  }
  co_await wait_for_donors(container);
  const auto lock = co_await container->run.transition.lock();
  if (container->state.status != Status::kRestarting || container->removal.done ||
      container->removal.under_way > 0)
    co_return;
  if (background_.ending()) {
    container->state.status = Status::kExited;
    table_.commit_or_log(*container);
    co_return;
  }
  ++container->state.restart_count;
  const auto started = co_await runs_.start_locked(container);
  if (started) co_return;
  spdlog::error("restart of container {}: {}", container->short_id(), started.error().message);
  container->state.status = Status::kExited;
  table_.commit_or_log(*container);
  container->changed.notify_all();
}

/// A container that shares namespaces starts when those whose they are have started, if they do:
/// else all of them would fail after a restart of the host.
net::awaitable<void> RestartPolicies::wait_for_donors(ContainerPtr container) {
  const auto due = std::chrono::steady_clock::now() + kDonorPatience;
  while (container->state.status == Status::kRestarting && !container->removal.done &&
         !background_.ending() && std::chrono::steady_clock::now() < due) {
    const ContainerPtr donor = donor_to_wait_for(
        *container, [this](std::string_view named) { return table_.find(named); });
    if (!donor) co_return;
    const auto look = std::chrono::steady_clock::now() + kLookAgain;
    co_await wait_for_change(donor, std::min(due, look));
  }
}

void RestartPolicies::resume(const ContainerPtr& container, bool was_restarting) {
  if (!container->damage.empty()) return;  // for a person to decide
  if (container->settings.auto_remove && container->state.status != Status::kCreated) {
    removal_.begin_auto_remove(container);
    return;
  }
  // Stopped with the last daemon, not by a person: the policy says whether it runs again.
  const auto kind = container->settings.restart_policy.kind;
  const bool always = kind == RestartPolicy::Kind::kAlways;
  const bool unless_stopped =
      kind == RestartPolicy::Kind::kUnlessStopped && !container->state.manually_stopped;
  const bool ran = container->state.status == Status::kExited && container->state.started_at != 0;
  if (was_restarting || container->state.status == Status::kRestarting ||
      (ran && (always || unless_stopped))) {
    container->state.status = Status::kRestarting;
    background_.spawn("restart " + container->short_id(),
                      restart_later(container, std::chrono::milliseconds(0)));
  }
}

}  // namespace engine
