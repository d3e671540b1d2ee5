#include "guest-init/container/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "guest-init/protocol/cpu_weight.h"
#include "guest-init/system/text_files.h"

namespace guest_init {

namespace {

/// How deep processes() looks. A container can nest cgroups at will; a systemd in which a systemd
/// runs Kubernetes comes to about 16.
constexpr int kDeepestCgroup = 32;
/// How many cgroups processes() looks at: a container can make any number.
constexpr int kMostCgroups = 4096;
constexpr std::size_t kMostRemovalSteps = 1u << 17;
constexpr std::size_t kLargestPidList = 1u << 20;

/// A name of a cgroup in the directory `parent`, or nothing.
std::optional<std::string> first_child(int parent) {
  const int copy = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(copy), closedir);
  if (!directory) return std::nullopt;
  while (const dirent* entry = readdir(directory.get()))
    if (entry->d_type == DT_DIR && std::string_view(entry->d_name) != "." &&
        std::string_view(entry->d_name) != "..")
      return entry->d_name;
  return std::nullopt;
}

/// `left`: how many more cgroups are looked at.
base::Result<void> add_processes(const std::string& path, int depth, int& left,
                                 std::vector<pid_t>& pids) {
  auto list = read_regular_file(path + "/cgroup.procs", kLargestPidList);
  if (!list) return std::move(list).error();
  std::string_view rest = *list;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (const auto pid = parse_decimal(line); pid && *pid != 0)
      pids.push_back(static_cast<pid_t>(*pid));
  }
  if (depth == 0) return {};
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (!directory) return base::errno_error("open " + path);
  while (const dirent* entry = readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    if (--left < 0) return {};
    // It may be gone by now, or have no processes of its own (a threaded one).
    (void)add_processes(path + "/" + entry->d_name, depth - 1, left, pids).has_value();
  }
  return {};
}

}  // namespace

std::optional<std::string> place_below(std::string_view proc_cgroup, std::string_view name) {
  constexpr std::string_view kUnified = "0::";
  while (!proc_cgroup.empty()) {
    const std::string_view line = proc_cgroup.substr(0, proc_cgroup.find('\n'));
    proc_cgroup.remove_prefix(std::min(proc_cgroup.size(), line.size() + 1));
    if (!line.starts_with(kUnified)) continue;
    const std::string path = std::string(line.substr(kUnified.size())) + "/";
    const std::string own = "/" + std::string(name) + "/";
    const std::size_t at = path.find(own);
    if (at == std::string::npos) return std::nullopt;
    const std::string below = path.substr(at + own.size());
    return below.empty() ? "." : below.substr(0, below.size() - 1);
  }
  return std::nullopt;
}

std::optional<std::string> swap_max(std::uint64_t memory_bytes, std::int64_t memory_swap_bytes) {
  if (memory_swap_bytes == 0) return std::nullopt;
  if (memory_swap_bytes < 0) return "max";
  const auto total = static_cast<std::uint64_t>(memory_swap_bytes);
  return std::to_string(total > memory_bytes ? total - memory_bytes : 0);
}

std::vector<CgroupSetting> settings_of(const protocol::PrepareContainer::Limits& limits) {
  std::vector<CgroupSetting> settings;
  const auto add = [&](const char* file, std::string value) {
    settings.push_back({file, std::move(value)});
  };
  if (limits.memory_bytes != 0) add("memory.max", std::to_string(limits.memory_bytes));
  if (limits.memory_bytes != 0)
    if (auto swap = swap_max(limits.memory_bytes, limits.memory_swap_bytes))
      add("memory.swap.max", *std::move(swap));
  if (limits.memory_low_bytes != 0) add("memory.low", std::to_string(limits.memory_low_bytes));
  if (limits.cpu_quota_us != 0)
    add("cpu.max",
        std::to_string(limits.cpu_quota_us) + " " + std::to_string(limits.cpu_period_us));
  if (limits.cpu_shares != 0)
    add("cpu.weight", std::to_string(protocol::cpu_weight_of_shares(limits.cpu_shares)));
  if (!limits.cpuset.empty()) add("cpuset.cpus", limits.cpuset);
  if (limits.pids != 0) add("pids.max", std::to_string(limits.pids));
  return settings;
}

std::vector<CgroupSetting> all_settings_of(const protocol::PrepareContainer::Limits& limits) {
  std::vector<CgroupSetting> settings{
      {"memory.max", "max"}, {"memory.swap.max", "max"}, {"memory.low", "0"}, {"cpu.max", "max"},
      {"cpu.weight", "100"}, {"cpuset.cpus", ""},        {"pids.max", "max"},
  };
  for (CgroupSetting& wanted : settings_of(limits)) {
    const auto found = std::find_if(settings.begin(), settings.end(), [&](const auto& setting) {
      return setting.file == wanted.file;
    });
    if (found != settings.end()) *found = std::move(wanted);
  }
  return settings;
}

bool limits_disks(const protocol::PrepareContainer::Limits& limits) {
  return limits.read_bytes != 0 || limits.write_bytes != 0 || limits.read_operations != 0 ||
         limits.write_operations != 0;
}

std::string io_max(const std::string& disk, const protocol::PrepareContainer::Limits& limits) {
  std::string line = disk;
  const auto add = [&](const char* key, std::uint64_t rate) {
    line += std::string(" ") + key + "=" + (rate == 0 ? "max" : std::to_string(rate));
  };
  add("rbps", limits.read_bytes);
  add("wbps", limits.write_bytes);
  add("riops", limits.read_operations);
  add("wiops", limits.write_operations);
  return line;
}

std::uint64_t flat_keyed_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    return parse_decimal(line.substr(key.size() + 1)).value_or(0);
  }
  return 0;
}

base::Result<Cgroup> Cgroup::create(const std::string& parent, const std::string& name) {
  Cgroup cgroup;
  cgroup.path_ = parent + "/" + name;
  if (mkdir(cgroup.path_.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("create cgroup " + name);
  cgroup.directory_.reset(open(cgroup.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.directory_) return base::errno_error("open cgroup " + name);
  // Absent when the kernel has no memory controller to offer: then nothing is counted.
  cgroup.memory_events_.reset(
      openat(cgroup.directory_.get(), "memory.events", O_RDONLY | O_CLOEXEC));
  return cgroup;
}

base::Result<void> Cgroup::apply(const protocol::PrepareContainer::Limits& limits) const {
  for (const CgroupSetting& setting : settings_of(limits))
    if (auto written = write_file_at(directory_.get(), setting.file, setting.value); !written)
      return annotate(std::move(written), "set " + setting.file + " to " + setting.value);
  return limits_disks(limits) ? limit_disks(limits) : base::Result<void>();
}

base::Result<void> Cgroup::limit_disks(const protocol::PrepareContainer::Limits& limits) const {
  for (const std::string& disk : disks_) {
    const std::string line = io_max(disk, limits);
    if (auto written = write_file_at(directory_.get(), "io.max", line); !written)
      return annotate(std::move(written), "set io.max to " + line);
  }
  return {};
}

std::uint64_t Cgroup::oom_kills() const {
  if (!memory_events_) return 0;
  std::array<char, 512> text{};
  const ssize_t size = pread(memory_events_.get(), text.data(), text.size(), 0);
  if (size <= 0) return 0;
  return flat_keyed_value({text.data(), static_cast<std::size_t>(size)}, "oom_kill");
}

base::Result<void> Cgroup::replace(const protocol::PrepareContainer::Limits& limits) const {
  for (const CgroupSetting& setting : all_settings_of(limits))
    if (auto written = write_file_at(directory_.get(), setting.file, setting.value + "\n");
        !written)
      return annotate(std::move(written), setting.file);
  return limit_disks(limits);
}

base::Result<void> Cgroup::freeze(bool frozen) const {
  constexpr int kPatience = 2'000;
  RETURN_IF_ERROR(write_file_at(directory_.get(), "cgroup.freeze", frozen ? "1" : "0"));
  if (!frozen) return {};
  // The file's change is announced as POLLPRI.
  const base::UniqueFd events(openat(directory_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events) return base::errno_error("open cgroup.events");
  for (int waited = 0; waited < kPatience;) {
    std::array<char, 256> text{};
    const ssize_t size = pread(events.get(), text.data(), text.size(), 0);
    if (size < 0) return base::errno_error("read cgroup.events");
    if (flat_keyed_value({text.data(), static_cast<std::size_t>(size)}, "frozen") == 1) return {};
    constexpr int kStep = 20;
    pollfd change{.fd = events.get(), .events = POLLPRI, .revents = 0};
    if (poll(&change, 1, kStep) <= 0) waited += kStep;
  }
  RETURN_IF_ERROR(write_file_at(directory_.get(), "cgroup.freeze", "0"));
  return base::Error{base::Code::kDeadlineExceeded, "its processes did not freeze in two seconds"};
}

base::Result<std::vector<pid_t>> Cgroup::processes() const {
  std::vector<pid_t> pids;
  int left = kMostCgroups;
  RETURN_IF_ERROR(add_processes(path_, kDeepestCgroup, left, pids));
  return pids;
}

base::Result<void> Cgroup::kill_all() const {
  return write_file_at(directory_.get(), "cgroup.kill", "1");
}

base::Result<base::UniqueFd> Cgroup::directory_of(pid_t pid) const {
  const auto text = read_regular_file("/proc/" + std::to_string(pid) + "/cgroup", kLargestPidList);
  if (!text) return base::Error{base::Code::kNotFound, "the process is gone"};
  const auto place = place_below(*text, path_.substr(path_.find_last_of('/') + 1));
  if (!place) return base::Error{base::Code::kNotFound, "the process is in another cgroup"};
  // Kernel's directories only: there is nothing to follow.
  base::UniqueFd directory(
      openat(directory_.get(), place->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::errno_error("open cgroup " + *place);
  return directory;
}

/// Deepest first, with one descriptor however deep the container nested them.
base::Result<void> Cgroup::remove() const {
  base::UniqueFd here(openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::vector<std::string> names;  // from this cgroup to where `here` is
  for (std::size_t steps = 0; here && steps < kMostRemovalSteps; ++steps) {
    if (auto child = first_child(here.get())) {
      here.reset(openat(here.get(), child->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      names.push_back(*std::move(child));
    } else if (names.empty()) {
      if (rmdir(path_.c_str()) != 0) return base::errno_error("remove " + path_);
      return {};
    } else {
      here.reset(openat(here.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (here && unlinkat(here.get(), names.back().c_str(), AT_REMOVEDIR) != 0)
        return base::errno_error("remove cgroup " + names.back());
      names.pop_back();
    }
  }
  if (!here) return base::errno_error("remove the cgroups below " + path_);
  return base::Error{base::Code::kResourceExhausted, "too many cgroups below " + path_};
}

}  // namespace guest_init
