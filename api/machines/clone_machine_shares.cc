// What a machine's containers have of the host's files: its file server, and what that shows.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "api/machines/clone_machine.h"

namespace engine {

namespace {

using base::Result;
using Source = protocol::PrepareContainer::Source;

/// What the file server calls the first of a container's shares; the others follow.
std::uint32_t first_share(ContainerNumber container) {
  return container * static_cast<std::uint32_t>(launch::file_server::kMostTrees);
}

/// Waiters for a lock are looked for so often, and so long, while processes are to end.
constexpr std::chrono::milliseconds kLookAgain{500};
constexpr int kLooks = 20;

}  // namespace

net::awaitable<Result<void>> CloneMachine::share_files(ContainerSpec& spec,
                                                       std::vector<MonitorReply>& replies) {
  if (spec.shares.empty()) co_return Result<void>();
  if (auto started = co_await start_file_server(replies); !started) co_return started;
  const std::uint32_t first = first_share(spec.settings.container);
  std::vector<SharedTree> trees;
  for (const SharedFiles& files : spec.shares)
    trees.push_back({.number = first + static_cast<std::uint32_t>(trees.size()),
                     .tree = files.tree,
                     .caching = files.caching});
  for (protocol::PrepareContainer::Mount& mount : spec.settings.mounts)
    if (mount.source == Source::kDirectory || mount.source == Source::kHost) mount.number += first;
  FileServer server = process_->file_server();
  co_return co_await server.add(std::move(trees));
}

/// Starts it for the first container that needs it.
net::awaitable<Result<void>> CloneMachine::start_file_server(std::vector<MonitorReply>& replies) {
  const auto lock = co_await starting_file_server_.lock();
  if (has_file_server_) co_return Result<void>();
  FileServer server = process_->file_server();
  auto session = co_await server.start();
  if (!session) co_return std::move(session).error();
  has_file_server_ = true;
  std::vector<base::UniqueFd> fds;
  fds.push_back(*std::move(session));
  replies.push_back(monitor_->send(launch::AttachFileServer{}, std::move(fds)));
  co_return Result<void>();
}

net::awaitable<void> CloneMachine::take_shares(ContainerNumber first, ContainerNumber last) {
  if (!has_file_server_) co_return;
  FileServer server = process_->file_server();
  // Without its server a machine has no shares any more, whatever comes of this.
  [[maybe_unused]] const auto removed =
      co_await server.remove(first_share(first), first_share(last + 1));
}

void CloneMachine::let_lock_waiters_die() {
  if (has_file_server_ && !ending_.done.has_value())
    net::co_spawn(context_.executor, interrupt_locks(shared_from_this()), net::detached);
}

/// A process of the guest that waits for a lock of the host cannot be killed until the wait fails,
/// and the signal must have reached it before. So this is repeated for a while.
net::awaitable<void> CloneMachine::interrupt_locks(std::shared_ptr<CloneMachine> self) {
  if (std::exchange(self->interrupting_locks_, true)) co_return;
  for (int look = 0; look < kLooks; ++look) {
    if (const auto ended = co_await self->ending_.done.wait_for(kLookAgain)) break;
    FileServer server = self->process_->file_server();
    if (const auto done = co_await server.interrupt_locks(); !done) break;
  }
  self->interrupting_locks_ = false;
}

}  // namespace engine
