#include "guest-init/container/observation.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

constexpr std::size_t kLargestFile = 64u << 10;
constexpr std::size_t kLargestStat = 1u << 10;
constexpr std::size_t kLongestCommandLine = 4u << 10;
/// Well below a frame's limit.
constexpr std::size_t kMostListBytes = 3u << 20;

std::string text_of(const std::string& path, std::size_t limit) {
  auto text = read_regular_file(path, limit);
  return text ? *std::move(text) : std::string();
}

std::uint32_t online_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(CPU_COUNT(&set));
}

/// False if the process is gone.
bool describe(pid_t pid, protocol::ProcessList::Entry& entry) {
  const std::string directory = "/proc/" + std::to_string(pid);
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return false;
  entry.pid = pid;
  entry.user = status.st_uid;
  entry.stat = text_of(directory + "/stat", kLargestStat);
  entry.command_line = text_of(directory + "/cmdline", kLongestCommandLine);
  return !entry.stat.empty();
}

}  // namespace

protocol::Statistics read_statistics(const Cgroup& cgroup, const std::string& network_files) {
  const auto of_cgroup = [&](const char* file) {
    return text_of(cgroup.path() + "/" + file, kLargestFile);
  };
  protocol::Statistics statistics;
  statistics.cpu_stat = of_cgroup("cpu.stat");
  statistics.memory_current = of_cgroup("memory.current");
  statistics.memory_max = of_cgroup("memory.max");
  statistics.memory_stat = of_cgroup("memory.stat");
  statistics.pids_current = of_cgroup("pids.current");
  statistics.pids_max = of_cgroup("pids.max");
  statistics.io_stat = of_cgroup("io.stat");
  statistics.network_devices = text_of(network_files + "/dev", kLargestFile);
  statistics.memory_info = text_of("/proc/meminfo", kLargestFile);
  statistics.cpus = online_cpus();
  return statistics;
}

base::Result<protocol::ProcessList> list_processes(const Cgroup& cgroup) {
  auto pids = cgroup.processes();
  if (!pids) return std::move(pids).error();
  std::sort(pids->begin(), pids->end());
  protocol::ProcessList list;
  struct sysinfo system {};
  if (sysinfo(&system) != 0) return base::errno_error("sysinfo");
  list.boot_time_s = time(nullptr) - system.uptime;
  list.total_memory_bytes = std::uint64_t{system.totalram} * system.mem_unit;
  std::size_t bytes = 0;
  for (const pid_t pid : *pids) {
    protocol::ProcessList::Entry entry;
    if (!describe(pid, entry)) continue;
    bytes += entry.stat.size() + entry.command_line.size() + 16;
    if (bytes > kMostListBytes) {
      list.truncated = true;
      break;
    }
    list.processes.push_back(std::move(entry));
  }
  return list;
}

}  // namespace guest_init
