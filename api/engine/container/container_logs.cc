#include "api/engine/container/container_logs.h"

#include <spdlog/spdlog.h>

#include "api/engine/output/container_log.h"

namespace engine {

using base::Result;

void ContainerLogs::open(Container& container) {
  if (container.settings.log.writes())
    container.storage.log = std::make_shared<ContainerLog>(
        executor_, container.log_path(), LogPools{.prompt = prompt_, .bulk = bulk_});
}

net::awaitable<Result<std::optional<LogPosition::Streams>>> ContainerLogs::begin(
    ContainerPtr container, bool resumed) {
  std::optional<LogPosition::Streams> logged;
  if (!container->storage.log) co_return logged;
  const Settings& settings = container->settings;
  const LogSubject subject{.id = container->id,
                           .name = container->name,
                           .image_id = container->origin.image_id,
                           .image_name = settings.image,
                           .command = settings.process.argv,
                           .env = settings.process.env,
                           .labels = settings.labels};
  auto wanted = log_settings_for(settings.log, subject);
  if (!wanted)
    co_return base::annotate(std::move(wanted).error(), "failed to initialize logging driver");
  if (!wanted->remark.empty())
    spdlog::warn("container {}: log options: {}", container->short_id(), wanted->remark);
  if (resumed) {
    logged = co_await container->storage.log->resume(*std::move(wanted));
  } else {
    co_await container->storage.log->begin(*std::move(wanted));
  }
  container->run.process->log_to(container->storage.log);
  co_return logged;
}

}  // namespace engine
