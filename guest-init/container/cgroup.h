// Cgroup: a container's cgroup (v2): its limits, given in Docker's terms, and what it reports.
// Threads: the loop's. Trust: the container may make and remove cgroups below it at any moment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// memory.swap.max for Docker's memory + swap: nullopt leaves the kernel's default.
std::optional<std::string> swap_max(std::uint64_t memory_bytes, std::int64_t memory_swap_bytes);

struct CgroupSetting {
  std::string file;
  std::string value;
  bool operator==(const CgroupSetting&) const = default;
};

/// The files to write for `limits`, in order. Limits that are not set produce nothing.
std::vector<CgroupSetting> settings_of(const protocol::PrepareContainer::Limits& limits);

/// The files to write so that exactly `limits` hold: those that are not set are lifted.
std::vector<CgroupSetting> all_settings_of(const protocol::PrepareContainer::Limits& limits);

/// Whether `limits` has any limit for block I/O.
bool limits_disks(const protocol::PrepareContainer::Limits& limits);
/// The line of io.max for one disk ("254:16"); what is not limited is lifted.
std::string io_max(const std::string& disk, const protocol::PrepareContainer::Limits& limits);

/// The value of `key` in a flat-keyed cgroup file ("low 0\nhigh 0\noom_kill 2\n"); 0 if missing.
std::uint64_t flat_keyed_value(std::string_view text, std::string_view key);

/// The path of a process's cgroup relative to the cgroup `name`, from the text of its
/// /proc/<pid>/cgroup: "init" for "0::/container1/init\n" and "container1"; "." if the process is
/// in `name` itself; nullopt if it is elsewhere.
std::optional<std::string> place_below(std::string_view proc_cgroup, std::string_view name);

/// One cgroup directory below guest-init's own mount. Destroying it does not remove it.
class Cgroup {
 public:
  /// Makes `name` below the directory `parent`.
  static base::Result<Cgroup> create(const std::string& parent, const std::string& name);

  int directory() const { return directory_.get(); }
  const std::string& path() const { return path_; }
  /// The disks to which block I/O limits apply: "254:16". To be called before apply().
  void set_disks(std::vector<std::string> disks) { disks_ = std::move(disks); }
  base::Result<void> apply(const protocol::PrepareContainer::Limits& limits) const;
  /// As apply(), but lifts the limits that `limits` does not set.
  base::Result<void> replace(const protocol::PrepareContainer::Limits& limits) const;
  /// Stops every process in it, or lets them go on. kDeadlineExceeded if not all of them stand
  /// still within two seconds: then they all go on.
  base::Result<void> freeze(bool frozen) const;
  /// Every process in it and in the cgroups below, up to bounds on their depth and number.
  base::Result<std::vector<pid_t>> processes() const;
  /// How many processes of this cgroup the kernel has killed for want of memory.
  std::uint64_t oom_kills() const;
  /// SIGKILL to everything in it.
  base::Result<void> kill_all() const;
  /// Removes it and the cgroups that the container made below. An Error while processes are in one.
  base::Result<void> remove() const;
  /// A descriptor of the cgroup that the process `pid` is in: this one, or one below it. kNotFound:
  /// the process is gone, or elsewhere.
  base::Result<base::UniqueFd> directory_of(pid_t pid) const;

 private:
  base::Result<void> limit_disks(const protocol::PrepareContainer::Limits& limits) const;

  std::string path_;
  base::UniqueFd directory_;
  base::UniqueFd memory_events_;  // kept open: read at every exit
  std::vector<std::string> disks_;
};

}  // namespace guest_init
