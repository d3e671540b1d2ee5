// MonitorProcess: one containervm-vmm process and what belongs to it on the host: its run directory
// (control socket, result, log, record), its cgroup, its uid.
//
// <run>/<name>/control.sock   the monitor listens; a restarted daemon connects again
//              result         a Stopped packet, written when nobody was connected at the end
//              log            the monitor's standard error
//              record         Record below: how a restarted daemon finds the process
//
// Threads: io_context thread, except where a function says that it blocks.
// Trust: the monitor may have been taken over by its guest; result and log hold any bytes.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/privileged/privileged.h"
#include "api/privileged/uid_range.h"
#include "vmm/launch/messages.h"

namespace engine {

class MonitorLauncher;

class MonitorProcess {
 public:
  /// What is kept on disk about a monitor that runs. A daemon that cannot read it cannot end the
  /// machine in order, so nothing of a protocol, which may change, is in it.
  struct Record {
    static constexpr std::uint32_t kVersion = 1;
    std::uint32_t version = kVersion;
    std::int32_t pid = 0;
    std::uint64_t start_time = 0;  // /proc/<pid>/stat, field 22: tells a reused pid
    std::uint32_t uid_slot = 0;
    std::string group;
    std::uint32_t vcpus = 0;
    std::uint64_t memory_bytes = 0;
    static void fields(auto& self, auto&& visit) {
      visit(self.version, self.pid, self.start_time, self.uid_slot, self.group, self.vcpus,
            self.memory_bytes);
    }
  };

  MonitorProcess(MonitorLauncher& launcher, net::any_io_executor executor, std::string name,
                 Record record, base::UniqueFd pidfd, bool child);
  ~MonitorProcess();

  pid_t pid() const { return record_.pid; }
  std::filesystem::path directory() const;

  /// Renames the run directory: a clone from the pool becomes a container's.
  base::Result<void> rename(const std::string& name);

  /// A new control connection.
  base::Result<base::UniqueFd> connect() const;

  /// SIGKILL; harmless when it has ended.
  void kill();

  /// Completes when the process is gone, with how it ended ("was killed by signal 9"; empty if that
  /// is not known).
  net::awaitable<std::string> wait();

  /// The last line of what it wrote to its standard error, printable and at most half a KiB: what
  /// it died of, if it had the time to say it. Empty if it said nothing. Until remove().
  std::string last_words() const;

  /// What it left in its result file, if that is a Stopped packet.
  std::optional<launch::Stopped> result() const;

  /// Removes directory and cgroup. Blocks; only after wait(). Any thread.
  static void remove(MonitorLauncher& launcher, const std::string& name, const std::string& group);

  const std::string& name() const { return name_; }
  const std::string& group() const { return record_.group; }

 private:
  MonitorLauncher& launcher_;
  std::string name_;
  Record record_;
  net::posix::stream_descriptor pidfd_;
  bool child_;
  std::shared_ptr<std::set<std::uint32_t>> uid_slots_;
};

class MonitorLauncher {
 public:
  struct Config {
    std::filesystem::path run;      // directory of the run directories; made if missing
    std::filesystem::path program;  // containervm-vmm
    std::string group_prefix;       // cgroup names begin with it
    uid_t first_uid = 0;            // a range of kUids belongs to this daemon
  };
  static constexpr std::uint32_t kUids = UidRange::kUids;

  MonitorLauncher(Privileged& privileged, net::any_io_executor executor, async::BlockingPool& pool,
                  Config config)
      : privileged_(privileged), executor_(executor), pool_(pool), config_(std::move(config)) {}

  /// Starts a monitor in a new run directory called `name`.
  net::awaitable<base::Result<std::unique_ptr<MonitorProcess>>> launch(std::string name,
                                                                       launch::Shape shape);

  /// The monitor that an earlier daemon started under `name`. kNotFound: no such directory;
  /// kUnavailable: it has ended (see read_result).
  base::Result<std::unique_ptr<MonitorProcess>> reopen(const std::string& name);

  /// Names of all run directories. Blocks shortly.
  std::vector<std::string> found() const;

  /// Keeps the uid and cgroup of an earlier daemon's machine from being given to a new one.
  void reserve(const std::string& name);

  /// What the monitor of a run directory left as its result.
  std::optional<launch::Stopped> read_result(const std::string& name) const;

  /// Ends and removes whatever an earlier daemon left under `name`. Blocks, at most seconds. Any
  /// thread.
  void remove_left_over(const std::string& name);

  Privileged& privileged() { return privileged_; }
  const Config& config() const { return config_; }

 private:
  friend class MonitorProcess;
  base::Result<MonitorProcess::Record> read_record(const std::string& name) const;
  base::Result<SpawnedMonitor> spawn(const std::string& name, MonitorProcess::Record& record);

  Privileged& privileged_;
  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  Config config_;
  // In use. Shared: a MonitorProcess may be destroyed after its launcher.
  std::shared_ptr<std::set<std::uint32_t>> uid_slots_ = std::make_shared<std::set<std::uint32_t>>();
};

}  // namespace engine
