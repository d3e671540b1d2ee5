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

#include "api/async/task_group.h"
#include "api/engine/container/container.h"
#include "api/engine/container/container_events.h"
#include "api/engine/process/process.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/engine/settings/exec_settings.h"

namespace engine {

struct Exec {
  const std::string id;
  const ContainerPtr container;
  const ExecSettings settings;
  const ProcessPtr process;
  bool started = false;  // start() was called
};

using ExecPtr = std::shared_ptr<Exec>;

class Execs {
 public:
  static constexpr std::size_t kKept = 1024;

  /// What it is given outlives it.
  Execs(net::any_io_executor executor, SeccompFilters& seccomp, ContainerEvents& events);

  base::Result<ExecPtr> create(ContainerPtr container, ExecSettings settings);
  base::Result<ExecPtr> find(const std::string& id) const;
  /// Forgets an exec that does not run, before it grows old: nobody will ask for its exit code.
  void forget(const ExecPtr& exec);
  /// IDs of the execs of one container that run.
  std::vector<std::string> running_in(const Container& container) const;

  /// Whether start() may be called: kConflict if it was, or if the container does not run.
  base::Result<void> can_start(const Exec& exec) const;
  /// Completes when the process runs. A refused command is an Error in Docker's words; its process
  /// is over then, with that exit code (126, 127).
  net::awaitable<base::Result<void>> start(ExecPtr exec, std::uint16_t rows, std::uint16_t columns);
  net::awaitable<base::Result<void>> resize(ExecPtr exec, std::uint16_t rows,
                                            std::uint16_t columns);

  /// Completes when no exec runs any more (their machines have ended before).
  net::awaitable<void> drained() { co_await tasks_.drained(); }

 private:
  static base::Result<void> still_runs(const Exec& exec);
  net::awaitable<base::Result<void>> add_seccomp_filter(ExecPtr exec,
                                                        protocol::StartProcess& process);
  net::awaitable<base::Result<void>> start_process(ExecPtr exec, std::uint16_t rows,
                                                   std::uint16_t columns,
                                                   std::optional<int>& exit_code);
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
