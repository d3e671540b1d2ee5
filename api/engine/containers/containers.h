// Containers: creates, runs, stops, finds and removes containers.
//
// Threads: the io_context thread; what blocks goes to the pool. Every operation that changes a
// container runs to its end once begun: callers await it shielded (async/shield.h) from a client
// that leaves.
// Truth: the database; a change is committed before anybody is told of it. After a crash recover()
// brings the two together again.
// Errors carry Docker's sentences: kNotFound "No such container: x", kConflict, kInvalidArgument.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/byte_pipe.h"
#include "api/async/net.h"
#include "api/async/slots.h"
#include "api/async/task_group.h"
#include "api/engine/containers/container.h"
#include "api/engine/containers/container_events.h"
#include "api/engine/containers/container_waits.h"
#include "api/engine/resources/admission.h"
#include "api/engine/security/seccomp_filters.h"
#include "api/engine/state/database.h"
#include "api/engine/volumes/volumes.h"
#include "api/machines/disks/disks.h"
#include "api/machines/machine.h"
#include "api/networks/networks.h"
#include "images/store/store.h"

namespace engine {

/// How long what hangs is waited for, before something stronger is done. README.md states what they
/// add up to for a removal.
struct Patience {
  /// Until a killed process is reported; then its machine's plug is pulled.
  std::chrono::milliseconds kill{10'000};
  /// From then until the end of the run is known; then the request fails.
  std::chrono::milliseconds plug{30'000};
  /// For a machine that has volumes to write back, after its container has exited.
  std::chrono::milliseconds volumes{120'000};
  /// For a copy of a container's files that is in the way of a removal without force.
  std::chrono::milliseconds copy{10'000};
};

/// What Containers works with; all of it outlives it.
struct EngineParts {
  net::any_io_executor executor;
  Database& database;
  ContainerEvents& events;
  async::BlockingPool& pool;
  images::Store& images;
  Machines& machines;
  Networks& networks;
  Disks& disks;
  Volumes& volumes;
  SeccompFilters& seccomp;
  std::filesystem::path directory;  // one directory per container below it
  launch::Shape default_shape{.vcpus = 1, .memory_bytes = 512ull << 20};
  Patience patience = {};
  std::function<base::Result<HostMemory>()> host_memory = read_host_memory;
};

struct CreateRequest {
  std::string name;  // empty: a random one
  Settings settings;
  bool of_build = false;  // should the daemon be killed, the next one removes it
  /// Only its image's files are of interest: it gets no volumes and is never started.
  bool files_only = false;
};

struct RemoveOptions {
  bool force = false;    // also if it runs
  bool volumes = false;  // with the volumes that were made for it and have no name
};

struct FilesTask;     // container_files.h
struct ContainerRow;  // container_row.h

enum class StartResult { kStarted, kAlreadyRunning };
enum class StopResult { kStopped, kNotRunning };
struct PruneResult {
  std::vector<std::string> removed;
  std::uint64_t reclaimed_bytes = 0;
};

class Containers {
 public:
  explicit Containers(EngineParts parts);
  ~Containers();
  Containers(const Containers&) = delete;
  Containers& operator=(const Containers&) = delete;

  /// Reads the database, takes over machines that still run, settles those that died. First call.
  net::awaitable<base::Result<void>> recover();

  /// Stops every container as `docker stop` does, at once. Restart policies no longer act. Last
  /// call.
  net::awaitable<void> shut_down();
  /// Instead of shut_down(): waits for what is under way and changes nothing any more; what runs
  /// goes on, and the next daemon takes it over. Nothing else may be called afterwards.
  net::awaitable<void> let_go();

  net::awaitable<base::Result<ContainerPtr>> create(CreateRequest request);

  /// By full ID, name (with or without a leading slash), or unique ID prefix.
  base::Result<ContainerPtr> find(std::string_view name) const;
  /// Newest first.
  std::vector<ContainerPtr> list() const;

  net::awaitable<base::Result<StartResult>> start(ContainerPtr container);
  /// `timeout`: instead of the container's own; `signal` 0: the container's own.
  net::awaitable<base::Result<StopResult>> stop(ContainerPtr container,
                                                std::optional<std::chrono::seconds> timeout,
                                                int signal = 0);
  net::awaitable<base::Result<void>> restart(ContainerPtr container,
                                             std::optional<std::chrono::seconds> timeout,
                                             int signal = 0);
  net::awaitable<base::Result<void>> kill(ContainerPtr container, int signal);
  net::awaitable<base::Result<void>> resize(ContainerPtr container, std::uint16_t rows,
                                            std::uint16_t columns);
  /// Ends within the time that README.md states, whatever its guest, its monitor, its clients and
  /// what else is done with it are up to; after an Error it may be tried again.
  net::awaitable<base::Result<void>> remove(ContainerPtr container, RemoveOptions options);
  net::awaitable<base::Result<void>> pause(ContainerPtr container);
  net::awaitable<base::Result<void>> unpause(ContainerPtr container);
  /// Pauses a running container while its files become an image; whether it is paused now and
  /// end_commit_pause() is due. One that a person paused, or that does not run, is left as it is.
  net::awaitable<base::Result<bool>> begin_commit_pause(ContainerPtr container);
  net::awaitable<void> end_commit_pause(ContainerPtr container);
  /// `changes`: Docker's update request, Resources and RestartPolicy. What is 0 or empty in it
  /// stays. A running container's limits change at once.
  net::awaitable<base::Result<void>> update(ContainerPtr container, nlohmann::json changes);
  base::Result<void> rename(ContainerPtr container, std::string name);
  net::awaitable<PruneResult> prune(std::function<bool(const Container&)> wanted);

  /// A build leaves it behind: it is a container like any other from now on.
  base::Result<void> keep_after_build(ContainerPtr container);

  /// Runs a task of the files tool (container_files.h); it reports through its pipes.
  void start_files_task(ContainerPtr container, FilesTask task);
  /// Runs one that only reads, with the tool's arguments; what it says comes out of the answer.
  std::shared_ptr<async::BytePipe> start_reading(ContainerPtr container,
                                                 std::vector<std::string> command);

  /// `observer` is told of every container with a health check whose process begins to run or was
  /// taken over. Set before recover(); empty: nobody probes.
  void on_run(std::function<void(ContainerPtr, HealthCheck)> observer) {
    run_observer_ = std::move(observer);
  }
  /// A probe's result: commits and publishes a change of the container's health.
  void record_health(const ContainerPtr& container, const HealthCheck& check, HealthResult result);
  /// It is paused, so it is not probed.
  void suspend_health(const ContainerPtr& container);

  /// Tells listeners that something happened to `container` ("attach", "resize").
  void publish(const Container& container, std::string action,
               std::map<std::string, std::string> attributes = {}) {
    parts_.events.publish(container, std::move(action), std::move(attributes));
  }

 private:
  struct Launch {
    std::shared_ptr<Machine> machine;
    std::int32_t guest_pid = 0;
  };

  // containers.cc
  base::Result<void> check_limit(const Settings& settings) const;
  base::Result<void> check_room() const;
  base::Result<std::string> choose_name(const std::string& wanted, const std::string& id);
  net::awaitable<base::Result<void>> make_files(ContainerPtr container);
  net::awaitable<void> drop_files(ContainerPtr container);
  void make_log(Container& container);
  net::awaitable<base::Result<std::optional<LogPosition::Streams>>> begin_log(
      ContainerPtr container, bool resumed);
  base::Result<void> insert(const Container& container);
  base::Result<void> erase(const Container& container, const std::vector<VolumePtr>& volumes);
  base::Result<void> commit(const Container& container);

  // containers_run.cc
  net::awaitable<base::Result<void>> start_locked(ContainerPtr container);
  net::awaitable<base::Result<void>> check_image(ContainerPtr container);
  net::awaitable<base::Result<Launch>> launch(ContainerPtr container);
  /// For the container's next machine; committed.
  base::Result<void> renew_secret(Container& container);
  net::awaitable<base::Result<std::vector<EndpointLease>>> connect(ContainerPtr container);
  net::awaitable<void> start_failed(ContainerPtr container, base::Error error);
  /// `taken_over`: when this daemon took over a run that an earlier one began; 0 for one of its
  /// own.
  net::awaitable<void> follow(ContainerPtr container, std::shared_ptr<Machine> machine,
                              TimeNs taken_over);
  net::awaitable<void> record_exit(ContainerPtr container, base::Result<protocol::ExitStatus> exit,
                                   TimeNs now);
  net::awaitable<void> end_machine(ContainerPtr container, std::shared_ptr<Machine> machine);
  net::awaitable<void> restart_later(ContainerPtr container, std::chrono::milliseconds delay);
  bool should_restart(const Container& container) const;
  net::awaitable<base::Result<StopResult>> stop_locked(ContainerPtr container,
                                                       std::chrono::seconds timeout, int signal);
  net::awaitable<base::Result<void>> send_signal(ContainerPtr container, int signal);
  /// Whether the machine of its last run is gone.
  net::awaitable<bool> machine_ends(ContainerPtr container);
  net::awaitable<base::Result<void>> kill_locked(ContainerPtr container);

  // containers_pause.cc
  net::awaitable<base::Result<void>> freeze(ContainerPtr container);
  net::awaitable<base::Result<void>> thaw(ContainerPtr container);
  net::awaitable<void> end_interrupted_commit(ContainerPtr container);

  // containers_update.cc
  net::awaitable<base::Result<void>> limit_machine(ContainerPtr container, Settings wanted);

  // containers_files.cc
  net::awaitable<void> run_files_task(ContainerPtr container, FilesTask task);
  net::awaitable<base::Result<void>> run_files_tool(ContainerPtr container, FilesTask task);
  struct ToolRun {
    std::shared_ptr<Machine> machine;
    ProcessId process = 0;
    bool own_machine = false;
  };
  net::awaitable<base::Result<void>> finish_files_tool(ToolRun run, FilesTask task);
  net::awaitable<base::Result<protocol::ExitStatus>> tool_exit(
      ToolRun run, std::shared_ptr<async::BytePipe> output);
  net::awaitable<base::Result<void>> run_files_machine(ContainerPtr container, FilesTask task,
                                                       bool sees_volumes);
  ProcessId next_files_process();

  // containers_health.cc
  void begin_health(const ContainerPtr& container);
  void observe_run(const ContainerPtr& container);

  // containers_volumes.cc
  base::Result<std::vector<MountPoint>> mounts_from_others(const Settings& settings) const;
  net::awaitable<base::Result<void>> make_mounts(ContainerPtr container);
  void take_mount(Container& container, const MountPoint& mount);
  std::vector<VolumePtr> own_volumes(const Container& container) const;
  net::awaitable<void> drop_mounts(ContainerPtr container, std::vector<VolumePtr> gone);
  net::awaitable<base::Result<void>> claim_volumes(ContainerPtr container);
  std::vector<std::filesystem::path> mount_disks(const Container& container) const;
  void hold_volumes(const ContainerPtr& container);
  void release_volumes(const ContainerPtr& container);
  bool has_lasting_volumes(const Container& container, bool own_too) const;

  // containers_remove.cc
  net::awaitable<void> end_run(ContainerPtr container);
  net::awaitable<void> hurry(ContainerPtr container, std::shared_ptr<const bool> locked,
                             bool force);
  net::awaitable<async::Mutex::Lock> lock_to_remove(ContainerPtr container, bool force);
  void wake_waiters(const Container& container);
  net::awaitable<base::Result<void>> remove_locked(ContainerPtr container, bool volumes_too);
  net::awaitable<void> remove_by_itself(ContainerPtr container);

  // containers_recovery.cc
  /// The IDs of all rows.
  base::Result<std::set<std::string>> load();
  void look_for_files(ContainerRow& row) const;
  void take_row(const ContainerRow& row);
  void set_aside(Container& container, const ContainerRow& row);
  void mark_damaged(const std::vector<ContainerRow>& rows);
  net::awaitable<void> prepare_seccomp();
  /// Adds the container to `ended` if it does not run any more.
  net::awaitable<void> recover_one(ContainerPtr container, net::awaitable<async::Slots::Slot> turn,
                                   std::shared_ptr<std::vector<ContainerPtr>> ended);
  net::awaitable<bool> take_over(ContainerPtr container);
  net::awaitable<void> end_left_over(ContainerPtr container);
  /// What did not run when this daemon came is removed or started again, as it was created for.
  void resume_policy(const ContainerPtr& container, bool was_restarting);
  net::awaitable<void> remove_of_build(ContainerPtr container);
  net::awaitable<void> stop_at_shutdown(ContainerPtr container);
  void drop_unknown_directories(const std::set<std::string>& known);

  EngineParts parts_;
  // Of their own: an upload may keep the shared threads for as long as its client likes. Those that
  // print much get what others leave of the processors.
  static constexpr int kBulkLogNice = 15;
  async::BlockingPool logs_{2};
  async::BlockingPool bulk_logs_{2, kBulkLogNice};
  std::map<std::string, ContainerPtr> by_id_;
  std::map<std::string, std::string, std::less<>> names_;  // name -> id
  std::map<std::string, ContainerPtr> volume_holders_;     // whose machine has the volume
  std::function<void(ContainerPtr, HealthCheck)> run_observer_;
  bool shutting_down_ = false;
  std::vector<async::Mutex::Lock> held_;  // by let_go()
  std::uint32_t files_processes_ = 0;     // how many were numbered
  async::TaskGroup tasks_;
};

/// IDs of those that run, for images in use.
std::set<std::string> running_ids(const std::vector<ContainerPtr>& containers);

base::Error no_such_container(std::string_view name);

}  // namespace engine
