// Process: one process of a guest, from before its start until its end is known.
//
// A container has one for its present or its next run, so that clients can attach before there is a
// machine; an exec has one, and so has a task of the files tool.
// Life: it is new, then it runs, then it is over, for good; one that could not be started is over
// without having run. Whoever starts it follows it: start() or begin(), wait_exit(), end(). end()
// is called for each one to which clients may have attached, also where the start failed.
// Order: its output ends, for the log and for clients, before anybody hears that it is over.
// Threads: the io_context thread. Ownership: shared; whoever awaits one of its coroutines holds it.
// It holds its machine while it runs. Trust: pid, exit status and output were chosen by the guest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/output/log_position.h"
#include "api/engine/output/output_hub.h"
#include "api/machines/machine.h"
#include "vmm/base/result.h"

namespace engine {

/// The number of the main process of a machine's first container. Those of further ones have
/// numbers from kFirstJoinedProcess to kLastJoinedProcess, execs up to kFirstFilesProcess
/// (execs.h), tasks of the files tool from there on.
inline constexpr ProcessId kMainProcess = 1;
inline constexpr ProcessId kFirstJoinedProcess = 2;
inline constexpr ProcessId kLastJoinedProcess = 0x1fff'ffffu;
inline constexpr ProcessId kFirstFilesProcess = 0x8000'0000u;

/// Docker's number for how a process ended: 128 and more for a signal.
int exit_code_of(const protocol::ExitStatus& status);

class Process {
 public:
  struct Shape {
    bool tty = false;
    bool open_stdin = false;
  };

  Process(const net::any_io_executor& executor, ProcessId id, Shape shape);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  ProcessId id() const { return id_; }
  /// Another number, which shows only when it is about to start.
  void set_id(ProcessId id) { id_ = id; }
  bool tty() const { return shape_.tty; }

  // --- its streams ---

  /// Its output from now on, for one client.
  std::unique_ptr<Attachment> attach(bool want_stdout, bool want_stderr) {
    return output_->attach(want_stdout, want_stderr);
  }
  /// Each at most once, before the process starts: its output is logged, too; or all of it goes to
  /// `sink` instead.
  void log_to(std::shared_ptr<ContainerLog> log) { output_->log_to(std::move(log)); }
  void send_output_to(std::shared_ptr<OutputSink> sink) { sink_ = std::move(sink); }
  /// The sink that a machine is given for its output.
  std::shared_ptr<OutputSink> sink() const;

  /// Completes when the bytes are handed on; writes of several clients follow each other. Errors:
  /// those of Machine; kUnavailable if it does not run.
  net::awaitable<base::Result<void>> write_stdin(std::vector<std::byte> bytes);
  /// Gives the process the end of its input, after all that was written. Does nothing if it does
  /// not run.
  void close_stdin();

  // --- for who starts and follows it ---

  /// Starts the process in a machine that runs. It runs then, unless the answer is a refusal or an
  /// Error.
  net::awaitable<base::Result<ProcessStart>> start(std::shared_ptr<Machine> machine,
                                                   protocol::StartProcess request);
  /// Takes note that the process runs: `machine` was started, or taken over, with it.
  void begin(std::shared_ptr<Machine> machine, std::int32_t pid);
  /// What a machine that is taken over is told of the process. `logged`: how much of its output the
  /// log has.
  AdoptSpec::Process adopt_spec(const std::optional<LogPosition::Streams>& logged) const;
  /// As Machine::wait_exit(). Only while it runs.
  net::awaitable<base::Result<protocol::ExitStatus>> wait_exit() const;
  /// Lets the machine forget the process, whose exit is known. Only while it runs.
  void forget() { machine_->forget_process(id_); }
  /// Logs unfinished lines and ends attachments after what they hold; then the process is over.
  /// `exit_code`: nullopt if there is none to tell.
  net::awaitable<void> end(std::optional<int> exit_code);

  // --- for everybody ---

  bool running() const { return machine_ != nullptr; }
  std::int32_t pid() const { return pid_; }  // in the guest, if that is known; 0 if it does not run
  std::optional<int> exit_code() const { return exit_code_; }

  /// Completes when the process has begun or is over; whether it runs.
  net::awaitable<bool> wait_begun();
  net::awaitable<void> wait_over();

  /// Errors: those of Machine. It is no Error if the process, or its machine, has just ended: that
  /// is what a signal wants.
  net::awaitable<base::Result<void>> signal(int number) const;
  /// Does nothing if the process does not run or has no terminal.
  net::awaitable<base::Result<void>> resize(std::uint16_t rows, std::uint16_t columns) const;

 private:
  ProcessId id_;
  const Shape shape_;
  std::shared_ptr<OutputHub> output_;
  std::shared_ptr<OutputSink> sink_;  // instead of output_; or null
  std::shared_ptr<Machine> machine_;  // while it runs
  std::int32_t pid_ = 0;
  bool over_ = false;
  std::optional<int> exit_code_;
  async::Notifier changed_;  // after it began, and when it is over
  async::Mutex stdin_turn_;  // of the one client that writes
};

using ProcessPtr = std::shared_ptr<Process>;

}  // namespace engine
