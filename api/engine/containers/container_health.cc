#include "api/engine/containers/container_health.h"

#include <spdlog/spdlog.h>

namespace engine {

void ContainerHealth::begin(Container& container) {
  const HealthSettings& asked = container.settings.health;
  if (asked.warning) spdlog::warn("container {}: {}", container.short_id(), *asked.warning);
  if (!asked.check) return;
  if (!container.state.health) container.state.health.emplace();
  start_checks(*container.state.health);
}

void ContainerHealth::observe(const ContainerPtr& container) {
  const std::optional<HealthCheck>& check = container->settings.health.check;
  if (!check) return;
  // A daemon that did not know health checks yet may have started it.
  if (!container->state.health) container->state.health.emplace();
  if (observer_) observer_(container, *check);
}

void ContainerHealth::record(const ContainerPtr& container, const HealthCheck& check,
                             HealthResult result) {
  std::optional<Health>& health = container->state.health;
  if (!health) return;
  if (!take_result(*health, check, container->state.started_at, std::move(result))) return;
  table_.commit_or_log(*container);
  events_.publish(*container, "health_status: " + std::string(to_string(health->status)));
  container->changed.notify_all();
}

void ContainerHealth::suspend(const ContainerPtr& container) {
  if (container->state.health) stop_checks(*container->state.health);
}

}  // namespace engine
