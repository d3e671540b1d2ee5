// Container: one container as the daemon knows it: its settings, its state, and, while it runs, its
// machine.
//
// Threads: the io_context thread. Owned by ContainerTable; coroutines hold it by shared_ptr, so it
// outlives its removal. Only api/engine/containers changes it; everybody reads it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/notifier.h"
#include "api/engine/health/health.h"
#include "api/engine/process/process.h"
#include "api/engine/settings/mounts/mount_points.h"
#include "api/engine/settings/settings.h"
#include "api/engine/state/database.h"
#include "api/engine/state/stored_fields.h"
#include "api/engine/state/timestamp.h"
#include "api/machines/machine.h"

namespace engine {

enum class Status { kCreated, kRunning, kPaused, kRestarting, kRemoving, kExited, kDead };

/// Docker's word: "created".
std::string_view to_string(Status status);

/// What a database row keeps of the present or the last machine, and of the container's place in
/// it. All but what is said to be there while it runs is in the database before the machine has the
/// container, so that the next daemon can go on with it.
struct MachineRecord {
  /// Its ID. Empty in rows of a daemon that called machines as their containers: machine_of().
  std::string id;
  ContainerNumber number = kMainContainer;             // the container's
  ProcessId process = kMainProcess;                    // its main process's
  launch::Shape shape{.vcpus = 0, .memory_bytes = 0};  // 0: a daemon began it that kept none
  std::int64_t pid = 0;                                // of the monitor on the host, while it runs
  std::vector<Endpoint> endpoints;                     // while it runs: of its network cards
  std::vector<PublishedPort> ports;                    // while it runs
  protocol::Secret secret{};  // all zero in rows of a daemon that knew of none

  /// Whether the machine was made for the container, and has its network.
  bool own() const { return number == kMainContainer; }
};

/// What a database row keeps besides the settings.
struct ContainerState {
  Status status = Status::kCreated;
  int exit_code = 0;
  std::string error;  // why the last start failed, or how the machine ended
  bool oom_killed = false;
  /// `docker commit` reads its files: it is paused, or about to be, and not by a person. Committed
  /// before the guest is told, so that the next daemon ends the pause if this one is killed.
  bool paused_to_commit = false;
  bool of_build = false;          // a build made it: the next daemon removes it
  bool manually_stopped = false;  // by stop or kill: restart policies leave it alone
  std::int64_t restart_count = 0;
  TimeNs started_at = 0;
  TimeNs finished_at = 0;
  MachineRecord machine;
  std::optional<Health> health;  // from the first start of one with a health check

  bool running() const { return status == Status::kRunning || status == Status::kPaused; }
};

/// What a database row keeps of the settings.
std::string settings_text(const Settings& settings);
std::string to_json_text(const ContainerState& state);
/// As much of it as can be read.
Stored<ContainerState> stored_state(std::string_view text);

/// What a container on the default network knows of those that it has links to.
struct LinkedNames {
  std::vector<std::string> hosts;      // lines of /etc/hosts
  std::vector<std::string> variables;  // "DB_PORT=tcp://172.17.0.2:5432"
};

struct Container {
  /// What it was made of; stays as it is.
  struct Origin {
    TimeNs created = 0;
    std::string image_id;                   // "sha256:..."
    std::vector<images::LayerFile> layers;  // of the image, lowest first
  };

  /// What it has on the host.
  struct Storage {
    std::filesystem::path directory;    // its disk and log
    std::shared_ptr<ContainerLog> log;  // of all runs; null: log driver none
  };

  /// The present run, or what the next one begins with.
  struct Running {
    explicit Running(const net::any_io_executor& executor) : transition(executor) {}

    async::Mutex transition;     // held by whoever begins, changes or ends a run, or removes it
    std::stop_source launching;  // stops the start of `machine`
    std::shared_ptr<Machine> machine;  // from the start until nothing of it uses the disk any more
    std::vector<PortLease> ports;      // until its exit
    LinkedNames linked;                // as its processes were told
    ProcessPtr process;                // the main one, of the present or the next run
    std::uint64_t exits = 0;           // how many runs are over since this daemon started
  };

  /// Who is at its files beside its own processes.
  struct FileAccess {
    std::shared_ptr<Machine> machine;  // of a files tool, while the container does not run
    std::stop_source launching;        // stops the start of `machine`
    int commits = 0;                   // that want it paused
  };

  struct Ending {
    int under_way = 0;  // removals: nothing else begins meanwhile
    bool done = false;
  };

  Container(const net::any_io_executor& executor, std::string the_id)
      : id(std::move(the_id)), run(executor), changed(executor) {}

  const std::string id;
  std::string name;  // without Docker's leading slash
  Origin origin;
  Settings settings;
  std::vector<MountPoint> mounts;  // directories before what lies below them
  ContainerState state;
  /// What is wrong with its row, or its directory; then it is set aside (container_row.h). Else
  /// empty.
  std::string damage;
  Storage storage;
  Running run;
  FileAccess files;
  Ending removal;
  async::Notifier changed;  // after every change of state, run.exits or removal.done

  std::filesystem::path disk() const { return storage.directory / "disk"; }
  std::filesystem::path log_path() const { return storage.directory / (id + "-json.log"); }
  std::string short_id() const { return id.substr(0, 12); }
};

using ContainerPtr = std::shared_ptr<Container>;

/// The ID of its present or its last machine.
const std::string& machine_of(const Container& container);

/// Whether no other container is in its machine, so that what ends the machine ends nothing else.
/// True, too, if it has none.
bool has_machine_alone(const Container& container);

/// Gives the container the main process of its next run; its settings are known.
void expect_run(Container& container, const net::any_io_executor& executor);

}  // namespace engine
