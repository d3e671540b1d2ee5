// How a machine ends: asked to, by its guest, or with its monitor.
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "api/machines/clone_machine.h"
#include "vmm/base/printable.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using std::chrono::milliseconds;

EndReason reason_of(launch::StopReason reason) {
  switch (reason) {
    case launch::StopReason::kHostRequest:
      return EndReason::kRequested;
    case launch::StopReason::kGuestShutdown:
      return EndReason::kGuestShutdown;
    case launch::StopReason::kGuestPanic:
      return EndReason::kGuestPanic;
    case launch::StopReason::kTripleFault:
      return EndReason::kTripleFault;
    case launch::StopReason::kMonitorError:
      return EndReason::kMonitorError;
  }
  return EndReason::kProtocolViolation;
}

}  // namespace

net::awaitable<void> CloneMachine::shutdown(milliseconds timeout) {
  const auto self = shared_from_this();
  if (!ending_.done.has_value() && session_) {
    const GuestReply pending = session_->request(protocol::Shutdown{});
    session_->flush();
    let_lock_waiters_die();
    const auto answer = co_await pending.wait_for(timeout);
    // Done: the disk is clean. No need to wait for the guest to power off by itself.
    if (answer && *answer && std::holds_alternative<protocol::Done>(**answer))
      end(EndReason::kGuestShutdown, "the machine was shut down");
  }
  kill();
  co_await ending_.done.wait();
}

void CloneMachine::kill() { end(EndReason::kRequested, "the machine was killed"); }

net::awaitable<MachineEnd> CloneMachine::wait_stopped() { return ending_.done.wait(); }

void CloneMachine::end(EndReason reason, std::string message) {
  if (ending_.forced || ending_.done.has_value()) return;
  ending_.forced = MachineEnd{reason, std::move(message), {}};
  process_->kill();
}

void CloneMachine::on_ended(std::function<void()> handler) {
  if (ending_.conclusion && handler) {
    net::post(context_.executor, std::move(handler));  // it came too late to be called by watch()
  } else {
    ending_.on_ended = std::move(handler);
  }
}

void CloneMachine::guest_lost(Error error) {
  if (error.code != Code::kUnavailable) return end(EndReason::kProtocolViolation, error.message);
  net::co_spawn(context_.executor, end_unless_gone(shared_from_this(), std::move(error.message)),
                net::detached);
}

void CloneMachine::monitor_lost(Error error) {
  ending_.monitor_gone.set();
  guest_lost(std::move(error));
}

/// A closed connection usually means that the monitor is ending: give it the time to say why.
net::awaitable<void> CloneMachine::end_unless_gone(std::shared_ptr<CloneMachine> self,
                                                   std::string message) {
  const auto gone = co_await self->ending_.done.wait_for(kEndPatience);
  if (!gone) self->end(EndReason::kProtocolViolation, std::move(message));
}

net::awaitable<void> CloneMachine::watch(std::shared_ptr<CloneMachine> self) {
  const std::string how = co_await self->process_->wait();
  // Its last words may still be unread.
  if (self->monitor_) co_await self->ending_.monitor_gone.wait_for(kEndPatience);
  const MachineEnd end = self->conclude(how);
  spdlog::debug("machine {} ended: {}", self->identity_.id, end.message);
  self->close_connections();

  co_await self->process_->remove();
  self->identity_.endpoints.clear();
  if (auto beginning = std::exchange(self->beginning_, std::nullopt); beginning && beginning->begun)
    beginning->begun();
  self->ending_.conclusion = end;
  self->ending_.done.set(end);
  for (const auto& [id, io] : self->processes_.by_id) io->machine_ended(self->ended_error());
  if (const auto handler = std::move(self->ending_.on_ended)) handler();
}

void CloneMachine::close_connections() {
  if (monitor_) monitor_->close();
  if (session_) session_->close();
  if (streams_) streams_->close();
}

MachineEnd CloneMachine::conclude(std::string how_process_ended) const {
  std::optional<launch::Stopped> stopped = ending_.stopped;
  if (!stopped) stopped = process_->result();
  if (ending_.forced) {
    MachineEnd end = *ending_.forced;
    if (stopped) end.console_tail = stopped->console_tail;
    return end;
  }
  if (stopped)
    return {reason_of(stopped->reason), base::printable(stopped->message), stopped->console_tail};
  std::string message = "the machine's monitor ";
  message += how_process_ended.empty() ? "died" : how_process_ended;
  if (const std::string words = process_->last_words(); !words.empty())
    message += "; its last words: " + words;
  return {EndReason::kMonitorDied, std::move(message), {}};
}

Error CloneMachine::ended_error() const {
  std::string message = "the machine has ended";
  if (ending_.forced) message = ending_.forced->message;
  if (ending_.conclusion) message = ending_.conclusion->message;
  return {Code::kUnavailable, std::move(message)};
}

}  // namespace engine
