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
#include "api/engine/output/output_hub.h"
#include "api/engine/settings/mount_points.h"
#include "api/engine/settings/settings.h"
#include "api/engine/state/database.h"
#include "api/engine/state/stored_fields.h"
#include "api/engine/state/timestamp.h"
#include "api/machines/machine.h"

namespace engine {

enum class Status { kCreated, kRunning, kPaused, kRestarting, kRemoving, kExited, kDead };

/// Docker's word: "created".
std::string_view to_string(Status status);

/// The process a container is about, inside its machine.
inline constexpr ProcessId kMainProcess = 1;

/// Those of the files tool have the numbers from here on, which no exec has: Execs count in the
/// lower half.
inline constexpr ProcessId kFirstFilesProcess = 0x8000'0000u;

/// What a database row keeps besides the settings.
struct ContainerState {
  Status status = Status::kCreated;
  std::int64_t pid = 0;  // of the monitor on the host, while it runs
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
  std::optional<Endpoint> endpoint;  // while it runs
  /// Of its present or last machine. In the database before that machine runs, so that the next
  /// daemon can go on with it; all zero in rows of a daemon that knew of none.
  protocol::Secret machine_secret{};
  std::optional<Health> health;  // from the first start of one with a health check

  bool running() const { return status == Status::kRunning || status == Status::kPaused; }
};

/// What a database row keeps of the settings.
std::string settings_text(const Settings& settings);
std::string to_json_text(const ContainerState& state);
/// As much of it as can be read.
Stored<ContainerState> stored_state(std::string_view text);

struct Container {
  Container(const net::any_io_executor& executor, std::string the_id)
      : id(std::move(the_id)), changed(executor), transition(executor), stdin_turn(executor) {}

  const std::string id;
  std::string name;  // without Docker's leading slash
  TimeNs created = 0;
  std::string image_id;  // "sha256:..."
  Settings settings;
  ContainerState state;
  std::filesystem::path directory;  // its disk and log
  std::vector<LayerFile> layers;    // lowest first
  std::vector<MountPoint> mounts;   // directories before what lies below them
  /// What is wrong with its row, or its directory; then it is set aside (container_row.h). Else
  /// empty.
  std::string damage;

  std::shared_ptr<Machine> machine;  // set from start until nothing of it uses the disk any more
  std::shared_ptr<Machine> files_machine;  // of a files tool, while the container does not run
  std::stop_source launching;              // stops the start of `machine`
  std::stop_source files_launching;        // and of `files_machine`
  int removals = 0;                        // under way: nothing else begins meanwhile
  std::shared_ptr<OutputHub> output;       // of the present or the next run
  std::shared_ptr<ContainerLog> log;       // of all runs; null: log driver none
  std::uint64_t exits = 0;                 // how often it has exited since this daemon started
  bool removed = false;
  int commits = 0;          // that want it paused
  async::Notifier changed;  // after every change of state, exits or removed
  async::Mutex transition;  // held by whoever starts, stops or removes it
  async::Mutex stdin_turn;  // held by the one client that writes to the process

  std::filesystem::path disk() const { return directory / "disk"; }
  std::filesystem::path log_path() const { return directory / (id + "-json.log"); }
  std::string short_id() const { return id.substr(0, 12); }
};

using ContainerPtr = std::shared_ptr<Container>;

}  // namespace engine
