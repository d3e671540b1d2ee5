#include "api/engine/settings/settings_checks.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>

#include "api/engine/settings/block_io.h"
#include "api/engine/settings/health_settings.h"
#include "api/engine/settings/log_settings.h"
#include "api/engine/settings/mount_points.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }
Error unsupported(std::string message) { return Error{Code::kNotSupported, std::move(message)}; }

std::int64_t number(const json& object, const char* field) {
  const json& value = object.at(field);
  return value.is_null() ? 0 : value.get<std::int64_t>();
}

/// JSON has numbers that no int64_t holds: taken for one they would become others.
bool is_integer(const json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
}

/// Absent, or an integer from 0 to `most`.
bool is_number_up_to(const json& object, const char* field, std::int64_t most) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return true;
  return is_integer(*found) && *found >= 0 && found->get<std::int64_t>() <= most;
}

/// Words a field may have; the empty one is always allowed.
Result<void> one_of(const json& host, const char* field,
                    std::initializer_list<std::string_view> words) {
  const auto& value = host.at(field).get_ref<const std::string&>();
  if (value.empty() || std::find(words.begin(), words.end(), value) != words.end()) return {};
  return unsupported("HostConfig." + std::string(field) + " \"" + value.substr(0, 128) +
                     "\" is not supported");
}

Result<void> check_memory(const json& host) {
  constexpr std::int64_t kLeast = 6 << 20;
  const std::int64_t limit = number(host, "Memory");
  const std::int64_t swap = number(host, "MemorySwap");
  const std::int64_t reservation = number(host, "MemoryReservation");
  if (limit != 0 && limit < kLeast) return invalid("Minimum memory limit allowed is 6MB");
  if (limit == 0 && swap > 0)
    return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  if (swap < -1 || (swap > 0 && swap < limit))
    return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (reservation != 0 && reservation < kLeast)
    return invalid("Minimum memory reservation allowed is 6MB");
  if (limit != 0 && reservation > limit)
    return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  if (number(host, "MemorySwappiness") != -1 && !host.at("MemorySwappiness").is_null())
    return unsupported("HostConfig.MemorySwappiness is not supported: cgroup v2 has no such knob");
  if (number(host, "ShmSize") < 0) return invalid("SHM size can not be less than 0");
  return {};
}

Result<void> check_oom_score(const json& host) {
  const std::int64_t score = number(host, "OomScoreAdj");
  if (score >= -1000 && score <= 1000) return {};
  return invalid("Invalid value " + std::to_string(score) +
                 ", range for oom score adj is [-1000, 1000]");
}

/// "name:address"; the address may be host-gateway.
Result<void> check_extra_hosts(const json& host) {
  for (const json& item : host.at("ExtraHosts")) {
    const auto& text = item.get_ref<const std::string&>();
    const std::size_t split = text.find_first_of(":=");
    if (split == std::string::npos || split == 0)
      return invalid("bad format for add-host: \"" + text.substr(0, 128) + "\"");
    const std::string address = text.substr(split + 1);
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    if (address != "host-gateway" && ::inet_pton(AF_INET, address.c_str(), bytes.data()) != 1 &&
        ::inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1)
      return invalid("invalid IP address in add-host: \"" + address.substr(0, 128) + "\"");
  }
  return {};
}

Result<void> check_cpus(const json& host) {
  const std::int64_t nano = number(host, "NanoCpus");
  const std::int64_t period = number(host, "CpuPeriod");
  const std::int64_t quota = number(host, "CpuQuota");
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (nano < 0 || nano > cpus * 1'000'000'000)
    return invalid("range of CPUs is from 0.01 to " + std::to_string(cpus) +
                   ".00, as there are only " + std::to_string(cpus) + " CPUs available");
  if (nano > 0 && period > 0)
    return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  if (nano > 0 && quota > 0)
    return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  if (period != 0 && (period < 1000 || period > 1'000'000))
    return invalid(
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  if (quota > 0 && quota < 1000)
    return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  if (number(host, "CpuShares") < 0) return invalid("CPU shares can not be less than 0");
  const auto& cpuset = host.at("CpusetCpus").get_ref<const std::string&>();
  if (!cpuset.empty() && !highest_cpu(cpuset))
    return invalid("Invalid value " + cpuset.substr(0, 64) +
                   " for cpuset cpus: invalid format: " + cpuset.substr(0, 64));
  const auto& mems = host.at("CpusetMems").get_ref<const std::string&>();
  if (!mems.empty() && !highest_cpu(mems))
    return invalid("Invalid value " + mems.substr(0, 64) +
                   " for cpuset mems: invalid format: " + mems.substr(0, 64));
  return one_of(host, "CpusetMems", {"0"});
}

Result<void> check_restart_policy(const json& host) {
  const json& policy = host.at("RestartPolicy");
  const auto name = policy.find("Name");
  const auto retries = policy.find("MaximumRetryCount");
  const bool typed = (name == policy.end() || name->is_string()) &&
                     (retries == policy.end() || is_integer(*retries));
  if (!typed) return invalid("invalid JSON: HostConfig.RestartPolicy");
  const std::string word = policy.value("Name", "");
  const std::int64_t count = policy.value("MaximumRetryCount", std::int64_t{0});
  constexpr std::array<std::string_view, 5> kWords{"", "no", "always", "unless-stopped",
                                                   "on-failure"};
  if (std::find(kWords.begin(), kWords.end(), word) == kWords.end())
    return invalid("invalid restart policy: unknown policy '" + word.substr(0, 64) +
                   "'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'");
  if (word == "on-failure" && count < 0)
    return invalid("invalid restart policy: maximum retry count cannot be negative");
  // A policy without a name may have any count, as Docker's clients before 25 sent it.
  if (!word.empty() && word != "on-failure" && count != 0)
    return invalid(
        std::string(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'") +
        (count < 0 ? " and cannot be negative" : ""));
  if (!word.empty() && word != "no" && host.at("AutoRemove").get<bool>())
    return invalid("can't create 'AutoRemove' container with restart policy");
  return {};
}

Result<void> check_network(const json& host) {
  const auto& mode = host.at("NetworkMode").get_ref<const std::string&>();
  if (mode == "host" || mode.starts_with("container:"))
    return unsupported("network mode \"" + mode.substr(0, 128) +
                       "\" is not supported: every container has a machine of its own");
  return {};  // an unknown network is an error at start, as with Docker
}

Result<void> check_security(const json& host) {
  for (const json& item : host.at("SecurityOpt")) {
    const auto& option = item.get_ref<const std::string&>();
    // What a profile says is looked at when the container starts, as in Docker.
    if (option.starts_with("seccomp=") || option.starts_with("seccomp:")) continue;
    constexpr std::array<std::string_view, 8> kKnown{
        "no-new-privileges",       "no-new-privileges:true",
        "no-new-privileges=true",  "no-new-privileges:false",
        "no-new-privileges=false", "apparmor=unconfined",
        "apparmor:unconfined",     "label=disable"};
    if (std::find(kKnown.begin(), kKnown.end(), option) == kKnown.end())
      return unsupported("security option \"" + option.substr(0, 64) + "\" is not supported");
  }
  return {};
}

bool is_filled(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && !found->is_null() && *found != "";
}

Result<void> check_mounts(const json& host) {
  const std::string bad_tmpfs = "invalid mount config for type \"tmpfs\": ";
  for (const auto& [path, options] : host.at("Tmpfs").items())
    if (!path.starts_with('/'))
      return invalid("invalid mount path: '" + path.substr(0, 128) +
                     "' mount path must be absolute");
  for (const json& mount : host.at("Mounts")) {
    if (!mount.is_object()) return invalid("invalid JSON: HostConfig.Mounts");
    const json type = mount.value("Type", json(""));
    constexpr std::array<std::string_view, 5> kTypes{"bind", "volume", "npipe", "cluster", "image"};
    const bool known = type.is_string() && std::find(kTypes.begin(), kTypes.end(),
                                                     type.get<std::string>()) != kTypes.end();
    if (type != "tmpfs" && !known)
      return invalid("invalid mount config for type " + type.dump().substr(0, 64) +
                     ": mount type unknown");
    if (type == "volume") continue;  // mount_wishes()
    if (type != "tmpfs")
      return unsupported("mounts of type " + type.dump().substr(0, 64) + " are not supported yet");
    const json target = mount.value("Target", json(""));
    if (!target.is_string() || !target.get_ref<const std::string&>().starts_with('/'))
      return invalid(target == "" || target.is_null()
                         ? bad_tmpfs + "field Target must not be empty"
                         : bad_tmpfs + "invalid mount path: mount path must be absolute");
    if (is_filled(mount, "Source"))
      return invalid(bad_tmpfs + "field Source must not be specified");
    if (const auto options = mount.find("TmpfsOptions"); options != mount.end()) {
      const bool usable =
          options->is_null() ||
          (options->is_object() && is_number_up_to(*options, "SizeBytes", INT64_MAX) &&
           is_number_up_to(*options, "Mode", UINT32_MAX));
      if (!usable) return invalid("invalid JSON: HostConfig.Mounts.TmpfsOptions");
    }
    for (const auto& [name, value] : mount.items())
      if (name != "Type" && name != "Target" && name != "TmpfsOptions" && name != "ReadOnly" &&
          !value.is_null() && value != "" && value != false)
        return unsupported("HostConfig.Mounts." + name.substr(0, 64) +
                           " is not supported for tmpfs");
  }
  const json& storage = host.at("StorageOpt");
  for (const auto& [name, value] : storage.items())
    if (name != "size")
      return unsupported("storage option \"" + name.substr(0, 64) + "\" is not supported");
  return {};
}

Result<void> check_ulimits(const json& host) {
  for (const json& limit : host.at("Ulimits")) {
    const bool typed = limit.is_object() && limit.value("Name", json()).is_string() &&
                       is_integer(limit.value("Soft", json(0))) &&
                       is_integer(limit.value("Hard", json(0)));
    if (!typed) return invalid("invalid JSON: HostConfig.Ulimits");
    const auto soft = limit.value("Soft", std::int64_t{0});
    const auto hard = limit.value("Hard", std::int64_t{0});
    if (hard != -1 && (soft > hard || soft == -1))
      return invalid("ulimit soft limit must be less than or equal to hard limit");
  }
  const json& size = host.at("ConsoleSize");
  const bool sized = size.size() == 2 && std::all_of(size.begin(), size.end(), [](const json& n) {
                       return n.is_number_unsigned() && n.get<std::uint64_t>() <= 65535;
                     });
  if (!sized) return invalid("invalid JSON: HostConfig.ConsoleSize must be [rows, columns]");
  return {};
}

Result<void> check_config(const Settings& settings) {
  for (const std::string& variable : settings.strings("Env"))
    if (variable.empty() || variable.front() == '=')
      return invalid("invalid environment variable: " + variable.substr(0, 64));
  const std::string& directory = settings.text("WorkingDir");
  if (!directory.empty() && directory.front() != '/')
    return invalid("the working directory '" + directory.substr(0, 128) +
                   "' is invalid, it needs to be an absolute path");
  if (!settings.text("StopSignal").empty())
    if (auto signal_number = parse_signal(settings.text("StopSignal")); !signal_number)
      return std::move(signal_number).error();
  const std::string& hostname = settings.text("Hostname");
  if (hostname.size() > 64 || hostname.find_first_of(" \t\r\n/") != std::string::npos)
    return invalid("invalid hostname \"" + hostname.substr(0, 64) + "\"");
  return check_health(settings.config.at("Healthcheck"));
}

}  // namespace

std::optional<unsigned> highest_cpu(std::string_view list) {
  constexpr unsigned kMost = 8191;
  unsigned highest = 0;
  bool in_range = false;
  unsigned first = 0;
  while (true) {
    unsigned value = 0;
    const auto parsed = std::from_chars(list.data(), list.data() + list.size(), value);
    if (parsed.ec != std::errc() || value > kMost || (in_range && value < first))
      return std::nullopt;
    highest = std::max(highest, value);
    list.remove_prefix(static_cast<std::size_t>(parsed.ptr - list.data()));
    if (list.empty()) return highest;
    const bool begins_range = list.front() == '-' && !in_range;
    if (!begins_range && list.front() != ',') return std::nullopt;
    in_range = begins_range;
    first = value;
    list.remove_prefix(1);
  }
}

Result<void> check_settings(const Settings& settings) {
  const json& host = settings.host_config;
  RETURN_IF_ERROR(check_config(settings));
  RETURN_IF_ERROR(check_memory(host));
  RETURN_IF_ERROR(check_cpus(host));
  RETURN_IF_ERROR(check_block_io(host));
  RETURN_IF_ERROR(check_oom_score(host));
  RETURN_IF_ERROR(check_extra_hosts(host));
  RETURN_IF_ERROR(check_restart_policy(host));
  RETURN_IF_ERROR(check_log_config(host.at("LogConfig")));
  RETURN_IF_ERROR(check_network(host));
  RETURN_IF_ERROR(check_security(host));
  RETURN_IF_ERROR(check_mounts(host));
  if (auto wishes = mount_wishes(settings); !wishes) return std::move(wishes).error();
  RETURN_IF_ERROR(check_ulimits(host));
  RETURN_IF_ERROR(one_of(host, "CgroupnsMode", {"private"}));
  RETURN_IF_ERROR(one_of(host, "IpcMode", {"private", "shareable"}));
  RETURN_IF_ERROR(one_of(host, "UsernsMode", {"host"}));
  RETURN_IF_ERROR(one_of(host, "Isolation", {"default"}));
  return one_of(host, "Runtime", {"containervm", "runc"});
}

Result<int> parse_signal(std::string_view text) {
  struct Named {
    std::string_view name;
    int number;
  };
  static constexpr std::array<Named, 33> kSignals{
      {{"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"BUS", SIGBUS},       {"CHLD", SIGCHLD},
       {"CLD", SIGCHLD},  {"CONT", SIGCONT}, {"FPE", SIGFPE},       {"HUP", SIGHUP},
       {"ILL", SIGILL},   {"INT", SIGINT},   {"IO", SIGIO},         {"IOT", SIGIOT},
       {"KILL", SIGKILL}, {"PIPE", SIGPIPE}, {"POLL", SIGPOLL},     {"PROF", SIGPROF},
       {"PWR", SIGPWR},   {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV},     {"STKFLT", SIGSTKFLT},
       {"STOP", SIGSTOP}, {"SYS", SIGSYS},   {"TERM", SIGTERM},     {"TRAP", SIGTRAP},
       {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},
       {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH},
       {"XCPU", SIGXCPU}}};
  constexpr int kRtMin = 34;  // as the C library leaves them to programs
  constexpr int kRtMax = 64;
  const Error bad = invalid("invalid signal: " + std::string(text.substr(0, 32)));

  std::string upper(text.substr(0, 32));
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string_view word = upper;
  if (word.starts_with("SIG")) word.remove_prefix(3);
  for (const Named& signal : kSignals)
    if (signal.name == word) return signal.number;
  if (word == "XFSZ") return SIGXFSZ;

  int base = 0;
  int direction = 1;
  if (word.starts_with("RTMIN")) base = kRtMin;
  if (word.starts_with("RTMAX")) base = kRtMax, direction = -1;
  if (base != 0) {
    word.remove_prefix(5);
    if (word.empty()) return base;
    if (word.front() != (direction > 0 ? '+' : '-')) return bad;
    word.remove_prefix(1);
  }
  int value = 0;
  const auto parsed = std::from_chars(word.data(), word.data() + word.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size() || value < 0) return bad;
  const int result = base + direction * value;
  if (result < (base != 0 ? kRtMin : 1) || result > kRtMax) return bad;
  return result;
}

}  // namespace engine
