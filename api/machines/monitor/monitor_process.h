// MonitorProcess: one containervm-vmm process and what belongs to it on the host: its run directory
// (control socket, result, log, record), its cgroup, its uid.
//
// <run>/<name>/control.sock   the monitor listens; a restarted daemon connects again
//              result         a Stopped packet, written when nobody was connected at the end
//              log            the monitor's standard error
//              record         Record below: how a restarted daemon finds the process
//              files.sock     where the file server listens, if the machine has one (file_server.h)
//              files.log      its standard error
//
// Threads: io_context thread, except where a function says that it blocks.
// Trust: the monitor may have been taken over by its guest; result and log hold any bytes.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/machines/monitor/file_server.h"
#include "api/privileged/privileged.h"
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
    MonitorSlot slot = 0;
    std::string group;  // empty: kept, so that records of older daemons can be read
    std::uint32_t vcpus = 0;
    std::uint64_t memory_bytes = 0;
    static void fields(auto& self, auto&& visit) {
      visit(self.version, self.pid, self.start_time, self.slot, self.group, self.vcpus,
            self.memory_bytes);
    }
  };

  MonitorProcess(MonitorLauncher& launcher, net::any_io_executor executor, std::string name,
                 Record record, base::UniqueFd pidfd, bool child);

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

  /// Sets the weights by which the machine competes with others: see PrivilegedActs.
  net::awaitable<base::Result<void>> set_weights(GroupWeights weights);

  /// See PrivilegedActs.
  net::awaitable<base::Result<base::UniqueFd>> connect_host_socket(std::string path);

  /// The machine's file server; the directory must have its last name.
  FileServer file_server() const;

  /// Removes its directory and gives its slot back. Only after wait().
  net::awaitable<void> remove();

  const std::string& name() const { return name_; }

 private:
  MonitorLauncher& launcher_;
  std::string name_;
  Record record_;
  net::posix::stream_descriptor pidfd_;
  bool child_;
};

class MonitorLauncher {
 public:
  struct Config {
    std::filesystem::path run;               // directory of the run directories; made if missing
    std::filesystem::path program;           // containervm-vmm
    std::filesystem::path file_server = {};  // containervm-fileserver
  };

  MonitorLauncher(Privileged& privileged, net::any_io_executor executor, async::BlockingPool& pool,
                  Config config)
      : privileged_(privileged), executor_(executor), pool_(pool), config_(std::move(config)) {}

  /// Starts a monitor in a new run directory called `name`. On an Error nothing is left of it.
  net::awaitable<base::Result<std::unique_ptr<MonitorProcess>>> launch(std::string name,
                                                                       launch::Shape shape);

  /// The monitor that an earlier daemon started under `name`. kNotFound: no such directory;
  /// kUnavailable: it has ended (see read_result).
  base::Result<std::unique_ptr<MonitorProcess>> reopen(const std::string& name);

  /// Names of all run directories. Blocks shortly.
  std::vector<std::string> found() const;

  /// Keeps the slot of an earlier daemon's machine from being given to a new one.
  net::awaitable<void> reserve(std::string name);

  /// What the monitor of a run directory left as its result.
  std::optional<launch::Stopped> read_result(const std::string& name) const;

  /// Ends monitors that an earlier daemon had started but not recorded when it died. Call it after
  /// reserve() for all that are recorded.
  net::awaitable<void> remove_strays() { return privileged_.remove_strays(); }

  /// See PrivilegedActs.
  net::awaitable<base::Result<HostFile>> check_host_path(std::string path) {
    return privileged_.check_host_path(std::move(path));
  }

  /// Ends and removes whatever an earlier daemon left under `name`. Takes seconds at most.
  net::awaitable<void> remove_left_over(std::string name);

  const Config& config() const { return config_; }

 private:
  friend class MonitorProcess;
  /// What a monitor gets of its run directory.
  struct Files {
    base::UniqueFd control;
    base::UniqueFd result;
    base::UniqueFd log;
  };

  // These block: on the pool's threads.
  base::Result<MonitorProcess::Record> read_record(const std::string& name) const;
  base::Result<Files> make_directory(const std::string& name) const;
  base::Result<void> write_record(const std::string& name, MonitorProcess::Record& record) const;
  std::optional<MonitorSlot> end_left_over(const std::string& name) const;
  bool remove_directory(const std::string& name) const;

  net::awaitable<void> remove(std::string name, std::optional<MonitorSlot> slot);

  Privileged& privileged_;
  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  Config config_;
};

}  // namespace engine
