// Execs: further processes in running containers (docker exec).
//
// Threads: the io_context thread. Memory: finished ones are kept for their exit codes, at most
// kKept; they go with their container. They do not survive the daemon (their processes do).
// Errors: kNotFound "No such exec instance: x", kConflict (not running, or started before).
// Spec: Docker Engine API, Exec.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/notifier.h"
#include "api/async/task_group.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/engine/settings/exec_settings.h"

namespace engine {

struct Exec {
  Exec(const net::any_io_executor& executor, std::string the_id)
      : id(std::move(the_id)),
        output(std::make_shared<OutputHub>(executor)),
        ended(executor),
        stdin_turn(executor) {}

  const std::string id;
  ContainerPtr container;
  ExecSettings settings;
  bool started = false;
  bool running = false;
  std::int32_t pid = 0;  // in the guest
  std::optional<int> exit_code;
  ProcessId process = 0;
  std::shared_ptr<Machine> machine;  // while it runs
  std::shared_ptr<OutputHub> output;
  std::shared_ptr<OutputSink> sink;  // takes the output instead, if set before start()
  async::Notifier ended;             // when `running` becomes false
  async::Mutex stdin_turn;
};

using ExecPtr = std::shared_ptr<Exec>;

class Execs {
 public:
  static constexpr std::size_t kKept = 1024;

  /// What it is given outlives it.
  Execs(net::any_io_executor executor, SeccompFilters& seccomp, ContainerEvents& events);

  base::Result<ExecPtr> create(ContainerPtr container, ExecSettings settings);
  base::Result<ExecPtr> find(const std::string& id) const;
  /// Drops one that does not run before it grows old: nobody will ask for its exit code.
  void forget(const ExecPtr& exec);
  /// IDs of the execs of one container that run.
  std::vector<std::string> running_in(const Container& container) const;

  /// Whether start() may be called: kConflict if it was, or if the container does not run.
  base::Result<void> can_start(const Exec& exec) const;
  /// Completes when the process runs. A refused command is an Error in Docker's words; its exit
  /// code (126, 127) is in `exec` then, and its output has ended.
  net::awaitable<base::Result<void>> start(ExecPtr exec, std::uint16_t rows, std::uint16_t columns);
  net::awaitable<base::Result<void>> resize(ExecPtr exec, std::uint16_t rows,
                                            std::uint16_t columns);

  /// Completes when no exec runs any more (their machines have ended before).
  net::awaitable<void> drained() { co_await tasks_.drained(); }

 private:
  static base::Result<void> still_runs(const Exec& exec);
  net::awaitable<base::Result<void>> add_seccomp_filter(ExecPtr exec,
                                                        protocol::StartProcess& process);
  static net::awaitable<void> follow(Execs* self, ExecPtr exec);
  void forget_old();

  net::any_io_executor executor_;
  SeccompFilters& seccomp_;
  ContainerEvents& events_;
  std::map<std::string, ExecPtr> by_id_;
  std::deque<std::string> order_;  // oldest first
  ProcessId next_process_;
  async::TaskGroup tasks_;
};

}  // namespace engine
