#include "api/engine/containers/recovery.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
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
  container->created = row.created;
  container->image_id = row.image_id;
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
  container.state.pid = 0;
  container.state.endpoint.reset();
  if (container.settings.image().empty()) container.settings.config["Image"] = row.image_id;
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
  for (const ContainerPtr& container : parts_.table.list())
    recovering.spawn("container " + container->short_id(),
                     recover_one(container, slots.take(), ended));
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

net::awaitable<void> Recovery::recover_one(ContainerPtr container,
                                           net::awaitable<async::Slots::Slot> turn,
                                           std::shared_ptr<std::vector<ContainerPtr>> ended) {
  const async::Slots::Slot slot = co_await std::move(turn);
  const auto found = co_await parts_.storage.find_layers(container);
  if (!found) spdlog::error("container {}: {}", container->short_id(), found.error().message);
  const bool runs = co_await take_over(container);
  if (!runs) ended->push_back(container);
}

/// The last daemon died between a container's exit and its machine's end: what the container wrote
/// may still be in the guest's memory only.
net::awaitable<void> Recovery::end_left_over(ContainerPtr container) {
  const bool is_kept = !container->settings.auto_remove() && !container->state.of_build;
  if (!is_kept && !parts_.volumes.lasts(*container, true)) co_return;
  auto run = co_await parts_.launcher.adopt_ended(container);
  if (!run) co_return;  // there is none, or it ended
  spdlog::info("container {}: its machine is ended in order", container->short_id());
  co_await parts_.runs.end_machine(container, *std::move(run));
}

net::awaitable<bool> Recovery::take_over(ContainerPtr container) {
  if (!container->state.running()) {
    co_await end_left_over(container);
    co_return false;
  }
  auto run = co_await parts_.launcher.adopt(container);
  if (run) {
    co_await parts_.runs.take_over(container, *std::move(run));
    co_return true;
  }
  co_await parts_.runs.record_loss(container, run.error());
  co_return false;
}

}  // namespace engine
