// Containers: what a container's health check makes of its state.
#include <spdlog/spdlog.h>

#include "api/engine/containers/containers.h"
#include "api/engine/settings/health_settings.h"

namespace engine {

void Containers::begin_health(const ContainerPtr& container) {
  if (const auto warning = health_warning(container->settings.config))
    spdlog::warn("container {}: {}", container->short_id(), *warning);
  if (!health_check_of(container->settings.config)) return;
  if (!container->state.health) container->state.health.emplace();
  start_checks(*container->state.health);
}

void Containers::observe_run(const ContainerPtr& container) {
  auto check = health_check_of(container->settings.config);
  if (!check) return;
  // A daemon that did not know health checks yet may have started it.
  if (!container->state.health) container->state.health.emplace();
  if (run_observer_) run_observer_(container, *std::move(check));
}

void Containers::record_health(const ContainerPtr& container, const HealthCheck& check,
                               HealthResult result) {
  std::optional<Health>& health = container->state.health;
  if (!health) return;
  if (!take_result(*health, check, container->state.started_at, std::move(result))) return;
  if (const auto committed = commit(*container); !committed)
    spdlog::error("{}", committed.error().message);
  publish(*container, "health_status: " + std::string(to_string(health->status)));
  container->changed.notify_all();
}

void Containers::suspend_health(const ContainerPtr& container) {
  if (container->state.health) stop_checks(*container->state.health);
}

}  // namespace engine
