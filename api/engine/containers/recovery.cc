#include "api/engine/containers/recovery.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <map>
#include <utility>

#include "api/async/task_group.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Result;

namespace {

constexpr std::size_t kRecoveriesAtOnce = 16;

/// A row whose ID is damaged may be that of any directory, and hold any image.
bool all_are_ids(const std::set<std::string>& ids) {
  return std::all_of(ids.begin(), ids.end(), [](const std::string& id) {
    ContainerRow row;
    row.id = id;
    return has_valid_id(row);
  });
}

}  // namespace

Result<std::set<std::string>> Recovery::load() {
  auto rows = parts_.table.read_rows();
  if (!rows) return std::move(rows).error();
  std::set<std::string> ids;
  for (ContainerRow& row : *rows) {
    ids.insert(row.id);
    const auto directory = parts_.storage.check_directory(row.id);
    if (row.damage.empty() && !directory) row.damage = directory.error().message;
    if (has_valid_id(row)) take_row(row);
  }
  parts_.table.mark_damaged(*rows);
  return ids;
}

void Recovery::take_row(const ContainerRow& row) {
  const ContainerPtr container = parts_.storage.new_container(row.id);
  container->name = row.name;
  container->origin.created = row.created;
  container->origin.image_id = row.image_id;
  container->settings = row.settings;
  container->state = row.state;
  container->mounts = row.mounts;
  parts_.volumes.mention(*container);
  if (!row.damage.empty()) set_aside(*container, row);
  parts_.storage.place(*container);
  parts_.table.add(container);
}

void Recovery::set_aside(Container& container, const ContainerRow& row) {
  const ContainerTable& table = parts_.table;
  container.damage = row.damage;
  container.state.status = Status::kDead;
  container.state.error = "its record is damaged: " + row.damage;
  container.state.machine.pid = 0;
  container.state.machine.endpoints.clear();
  container.state.machine.ports.clear();
  if (container.settings.image.empty()) name_image(container.settings, row.image_id);
  if (!is_valid_name(row.name) || table.has_name(row.name)) container.name = container.short_id();
  if (table.has_name(container.name)) container.name = container.id;
  parts_.volumes.mention_all_of(container, row.mounts_text);
}

net::awaitable<Result<void>> Recovery::run() {
  const auto ids = load();
  if (!ids) co_return ids.error();
  std::set<std::string> restarting;
  for (const ContainerPtr& container : parts_.table.list())
    if (container->state.status == Status::kRestarting) restarting.insert(container->id);
  if (all_are_ids(*ids)) {
    auto kept = co_await parts_.storage.retain_only(*ids);
    if (!kept) co_return std::move(kept).error();
  }

  // At once, so that a machine that does not answer holds up no other.
  const net::any_io_executor executor = co_await net::this_coro::executor;
  async::TaskGroup recovering(executor);
  async::Slots slots(executor, kRecoveriesAtOnce);
  const auto ended = std::make_shared<std::vector<ContainerPtr>>();
  for (Crew& crew : crews()) {
    const std::string name = "container " + crew.front()->short_id();
    recovering.spawn(name, recover_crew(std::move(crew), slots.take(), ended));
  }
  co_await recovering.drained();
  co_await parts_.launcher.remove_left_over();
  // Only now is it known which addresses are taken.
  for (const ContainerPtr& container : *ended)
    if (!container->state.of_build)
      parts_.policies.resume(container, restarting.contains(container->id));
  for (const ContainerPtr& container : parts_.table.list())
    if (container->state.of_build) parts_.removal.begin_remove_of_build(container);
  co_return Result<void>();
}

std::vector<Recovery::Crew> Recovery::crews() const {
  std::map<std::string, Crew> by_machine;
  for (const ContainerPtr& container : parts_.table.list())
    by_machine[machine_of(*container)].push_back(container);
  std::vector<Crew> crews;
  for (auto& [machine, crew] : by_machine) crews.push_back(std::move(crew));
  return crews;
}

net::awaitable<void> Recovery::recover_crew(Crew crew, net::awaitable<async::Slots::Slot> turn,
                                            std::shared_ptr<std::vector<ContainerPtr>> ended) {
  const async::Slots::Slot slot = co_await std::move(turn);
  Crew running;
  Crew others;
  for (const ContainerPtr& container : crew) {
    const auto found = co_await parts_.storage.find_layers(container);
    if (!found) spdlog::error("container {}: {}", container->short_id(), found.error().message);
    (container->state.running() ? running : others).push_back(container);
  }
  if (running.empty())
    co_await end_left_over(crew);
  else if (const bool run = co_await take_over(running); !run)
    ended->insert(ended->end(), running.begin(), running.end());
  ended->insert(ended->end(), others.begin(), others.end());
}

/// The last daemon died between the exits of a machine's containers and its end: what they wrote
/// may still be in the guest's memory only.
net::awaitable<void> Recovery::end_left_over(Crew crew) {
  const bool wanted = std::any_of(crew.begin(), crew.end(), [&](const ContainerPtr& container) {
    const bool is_kept = !container->settings.auto_remove && !container->state.of_build;
    return is_kept || parts_.volumes.lasts(*container, true);
  });
  if (!wanted) co_return;
  auto runs = co_await parts_.launcher.adopt_ended(crew);
  if (!runs) co_return;  // there is none, or it ended
  spdlog::info("container {}: its machine is ended in order", crew.front()->short_id());
  co_await parts_.runs.end_left_over(crew, *std::move(runs));
}

net::awaitable<bool> Recovery::take_over(Crew running) {
  auto runs = co_await parts_.launcher.adopt(running);
  for (std::size_t i = 0; i < running.size(); ++i) {
    if (runs)
      co_await parts_.runs.take_over(running[i], std::move((*runs)[i]));
    else
      co_await parts_.runs.record_loss(running[i], runs.error());
  }
  co_return runs.has_value();
}

}  // namespace engine
