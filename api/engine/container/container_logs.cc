#include "api/engine/container/container_logs.h"

#include <spdlog/spdlog.h>

namespace engine {

using base::Result;

void ContainerLogs::open(Container& container) {
  if (container.settings.logs())
    container.log = std::make_shared<ContainerLog>(executor_, container.log_path(),
                                                   LogPools{.prompt = prompt_, .bulk = bulk_});
}

net::awaitable<Result<std::optional<LogPosition::Streams>>> ContainerLogs::begin(
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

}  // namespace engine
