// Process: one process of a container, from its StartProcess until it is forgotten.
//
// Owned by the Server; everything runs on the loop's thread. The loop outlives it, and so does the
// container while start() runs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <variant>

#include "guest-init/container/container.h"
#include "guest-init/process/input_stream.h"
#include "guest-init/process/launch.h"
#include "guest-init/process/output_stream.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/system/poll_loop.h"

namespace guest_init {

class Process {
 public:
  struct Surroundings {
    PollLoop* loop = nullptr;
    int init_program = -1;       // guest-init's own executable
    int own_pid_namespace = -1;  // guest-init's
  };

  /// Starts the process and returns after its execve, or with the Failure for the host. `on_end` is
  /// called once, when the process has exited and all its output was read; it must not destroy the
  /// Process.
  static std::variant<std::unique_ptr<Process>, protocol::Failure> start(
      const Surroundings& surroundings, Container& container, const protocol::StartProcess& spec,
      std::function<void(Process&)> on_end);

  std::uint32_t id() const { return id_; }
  std::uint32_t container() const { return container_; }
  pid_t pid() const { return pid_; }
  bool first() const { return first_; }  // of its container
  bool exited() const { return exit_.has_value(); }
  /// Exited, and its output is complete.
  bool ended() const;

  base::Result<void> signal(int number) const;
  base::Result<void> resize_terminal(std::uint16_t rows, std::uint16_t columns) const;

  /// Takes a stream connection; closes it if the process does not have the stream that `open`
  /// names.
  void attach(const protocol::StreamOpen& open, base::UniqueFd connection);

  /// The process was reaped with `status`. If others still hold its output open, they are waited
  /// for as long as Docker does (CutTimer).
  void set_exit(const protocol::ExitStatus& status);

  protocol::HelloReply::Process describe() const;
  protocol::ProcessExited exit_message() const;

 private:
  struct Pipes {
    Launch::Streams theirs;
    base::UniqueFd theirs_owned[3];
    base::UniqueFd input;
    base::UniqueFd output;
    base::UniqueFd error;
  };

  struct Streams {
    std::optional<InputStream> input;
    std::optional<OutputStream> output;
    std::optional<OutputStream> error;
  };
  /// Fires two seconds after the exit: output that others hold open is then cut.
  struct CutTimer {
    base::UniqueFd fd;
    PollLoop::Watch watch;
  };

  Process(PollLoop& loop, const protocol::StartProcess& spec, std::function<void(Process&)> on_end);
  static base::Result<Pipes> make_pipes(const protocol::StartProcess& spec);
  static base::Result<Pipes> use_terminal(const protocol::StartProcess& spec,
                                          const Terminal& terminal);
  base::Result<void> open_streams(Pipes pipes, const protocol::StartProcess& spec);
  base::Result<void> start_cut_timer();
  void check_end();

  PollLoop& loop_;
  const std::uint32_t id_;
  const std::uint32_t container_;
  bool first_ = false;
  pid_t pid_ = -1;
  std::function<void(Process&)> on_end_;
  bool end_reported_ = false;
  std::optional<protocol::ExitStatus> exit_;
  Terminal terminal_;  // the slave is held until the exit, so that the master does not hang up when
                       // the process closes it for a moment
  Streams streams_;
  CutTimer cut_timer_;
};

}  // namespace guest_init
