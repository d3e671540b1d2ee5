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

/// How long a monitor that closed a connection may take to be gone by itself.
constexpr milliseconds kEndPatience{2000};

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
  if (!ended_.has_value() && session_) {
    const GuestReply pending = session_->request(protocol::Shutdown{});
    session_->flush();
    const auto answer = co_await pending.wait_for(timeout);
    // Done: the disk is clean. No need to wait for the guest to power off by itself.
    if (answer && *answer && std::holds_alternative<protocol::Done>(**answer))
      end(EndReason::kGuestShutdown, "the machine was shut down");
  }
  kill();
  co_await ended_.wait();
}

void CloneMachine::kill() { end(EndReason::kRequested, "the machine was killed"); }

net::awaitable<MachineEnd> CloneMachine::wait_stopped() { return ended_.wait(); }

void CloneMachine::end(EndReason reason, std::string message) {
  if (forced_end_ || ended_.has_value()) return;
  forced_end_ = MachineEnd{reason, std::move(message), {}};
  process_->kill();
}

void CloneMachine::on_ended(std::function<void()> handler) {
  if (conclusion_ && handler) {
    net::post(context_.executor, std::move(handler));  // it came too late to be called by watch()
  } else {
    on_ended_ = std::move(handler);
  }
}

void CloneMachine::guest_lost(Error error) {
  if (error.code != Code::kUnavailable) return end(EndReason::kProtocolViolation, error.message);
  net::co_spawn(context_.executor, end_unless_gone(shared_from_this(), std::move(error.message)),
                net::detached);
}

void CloneMachine::monitor_lost(Error error) {
  monitor_gone_.set();
  guest_lost(std::move(error));
}

/// A closed connection usually means that the monitor is ending: give it the time to say why.
net::awaitable<void> CloneMachine::end_unless_gone(std::shared_ptr<CloneMachine> self,
                                                   std::string message) {
  const auto gone = co_await self->ended_.wait_for(kEndPatience);
  if (!gone) self->end(EndReason::kProtocolViolation, std::move(message));
}

net::awaitable<void> CloneMachine::watch(std::shared_ptr<CloneMachine> self) {
  const std::string how = co_await self->process_->wait();
  // Its last words may still be unread.
  if (self->monitor_) co_await self->monitor_gone_.wait_for(kEndPatience);
  const MachineEnd end = self->conclude(how);
  spdlog::debug("machine {} ended: {}", self->id_, end.message);
  if (self->monitor_) self->monitor_->close();
  if (self->session_) self->session_->close();
  self->control_stream_.reset();
  self->spare_streams_.clear();

  const std::string name = self->process_->name();
  const std::string group = self->process_->group();
  MonitorLauncher& launcher = self->context_.launcher;
  std::function<bool()> removal = [&launcher, name, group] {
    MonitorProcess::remove(launcher, name, group);
    return true;
  };
  co_await self->context_.pool.run(std::move(removal));
  self->endpoints_.clear();
  self->conclusion_ = end;
  self->ended_.set(end);
  for (const auto& [id, io] : self->processes_) io->machine_ended(self->ended_error());
  if (const auto handler = std::move(self->on_ended_)) handler();
}

MachineEnd CloneMachine::conclude(std::string how_process_ended) const {
  std::optional<launch::Stopped> stopped = stopped_;
  if (!stopped) stopped = process_->result();
  if (forced_end_) {
    MachineEnd end = *forced_end_;
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
  if (forced_end_) message = forced_end_->message;
  if (conclusion_) message = conclusion_->message;
  return {Code::kUnavailable, std::move(message)};
}

/// A stream that broke tells little: how the machine ended says more.
net::awaitable<Error> CloneMachine::failed_start(Error error) {
  if (error.code == Code::kUnavailable) co_await ended_.wait_for(kEndPatience);
  end(EndReason::kMonitorError, error.message);
  co_await ended_.wait();
  error.message = ended_error().message;
  co_return error;
}

}  // namespace engine
