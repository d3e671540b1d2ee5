#include "guest-init/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "guest-init/files.h"

namespace guest_init {

std::uint64_t cpu_weight_of_shares(std::uint64_t shares) {
  shares = std::clamp<std::uint64_t>(shares, 2, 262144);
  return 1 + (shares - 2) * 9999 / 262142;
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
    add("cpu.weight", std::to_string(cpu_weight_of_shares(limits.cpu_shares)));
  if (!limits.cpuset.empty()) add("cpuset.cpus", limits.cpuset);
  if (limits.pids != 0) add("pids.max", std::to_string(limits.pids));
  return settings;
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
  return {};
}

std::uint64_t Cgroup::oom_kills() const {
  if (!memory_events_) return 0;
  std::array<char, 512> text{};
  const ssize_t size = pread(memory_events_.get(), text.data(), text.size(), 0);
  if (size <= 0) return 0;
  return flat_keyed_value({text.data(), static_cast<std::size_t>(size)}, "oom_kill");
}

base::Result<void> Cgroup::kill_all() const {
  return write_file_at(directory_.get(), "cgroup.kill", "1");
}

base::Result<void> Cgroup::remove() const {
  if (rmdir(path_.c_str()) != 0) return base::errno_error("remove " + path_);
  return {};
}

}  // namespace guest_init
