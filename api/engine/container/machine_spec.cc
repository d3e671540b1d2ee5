#include "api/engine/container/machine_spec.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "api/engine/security/capabilities.h"
#include "api/engine/settings/block_io.h"
#include "api/engine/settings/exec_settings.h"
#include "api/engine/settings/settings_checks.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
using protocol::PrepareContainer;
using protocol::StartProcess;

namespace {

constexpr auto kMaskedPaths = std::to_array<const char*>(
    {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
     "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
     "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"});
constexpr auto kReadOnlyPaths = std::to_array<const char*>(
    {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"});
constexpr std::size_t kMaxGuestText = 1024;
constexpr std::string_view kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::int64_t number(const json& object, const char* field, std::int64_t otherwise = 0) {
  const json& value = object.at(field);
  return value.is_null() ? otherwise : value.get<std::int64_t>();
}

std::uint64_t positive(const json& object, const char* field) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, number(object, field)));
}

std::vector<std::string> strings(const json& object, const char* field) {
  const json& value = object.at(field);
  return value.is_null() ? std::vector<std::string>() : value.get<std::vector<std::string>>();
}

bool flag(const json& object, const char* field) {
  const json& value = object.at(field);
  return !value.is_null() && value.get<bool>();
}

/// TmpfsOptions of a mount as mount(8) writes them.
std::string tmpfs_options(const json& mount) {
  std::string options = mount.value("ReadOnly", json(false)) == true ? "ro" : "rw";
  const auto found = mount.find("TmpfsOptions");
  if (found == mount.end() || !found->is_object()) return options;
  if (const json size = found->value("SizeBytes", json(0)); size.is_number_integer() && size > 0)
    options += ",size=" + std::to_string(size.get<std::int64_t>());
  if (const json mode = found->value("Mode", json(0)); mode.is_number_integer() && mode > 0) {
    std::array<char, 16> octal{};
    std::snprintf(octal.data(), octal.size(), ",mode=%o", mode.get<unsigned>() & 07777u);
    options += octal.data();
  }
  return options;
}

std::vector<PrepareContainer::Tmpfs> tmpfs_of(const json& host) {
  std::vector<PrepareContainer::Tmpfs> mounts;
  for (const auto& [path, options] : host.at("Tmpfs").items())
    mounts.push_back({.path = path, .options = options.get<std::string>()});
  for (const json& mount : host.at("Mounts"))
    if (mount.at("Type") == "tmpfs")
      mounts.push_back(
          {.path = mount.at("Target").get<std::string>(), .options = tmpfs_options(mount)});
  return mounts;
}

/// One disk for each volume, however often it is mounted.
void add_volumes(const Container& container, const std::vector<std::filesystem::path>& disks,
                 MachineSpec& spec) {
  for (std::size_t i = 0; i < std::min(container.mounts.size(), disks.size()); ++i) {
    const MountPoint& mount = container.mounts[i];
    const auto known = std::find(spec.volumes.begin(), spec.volumes.end(), disks[i]);
    const auto disk = static_cast<std::uint32_t>(known - spec.volumes.begin());
    if (known == spec.volumes.end()) spec.volumes.push_back(disks[i]);
    const bool is_new = container.state.started_at == 0;
    spec.container.volumes.push_back({.disk = disk,
                                      .path = mount.destination,
                                      .subpath = mount.subpath,
                                      .read_only = mount.read_only,
                                      .copy_up = mount.copy_up && is_new && mount.subpath.empty()});
  }
}

PrepareContainer container_of(const Container& container, const StartContext& context) {
  const json& host = container.settings.host_config;
  PrepareContainer prepare;
  prepare.container = kMainContainer;
  prepare.hostname = hostname_of(container);
  prepare.domainname = container.settings.text("Domainname");
  prepare.hostname_file = prepare.hostname + "\n";
  prepare.hosts_file = hosts_file_of(container, context.endpoint);
  prepare.resolv_conf_file = context.resolv_conf;
  prepare.read_only_root = flag(host, "ReadonlyRootfs");
  prepare.privileged = flag(host, "Privileged");
  if (const std::uint64_t size = positive(host, "ShmSize"); size > 0) prepare.shm_bytes = size;
  prepare.tmpfs = tmpfs_of(host);
  for (const auto& [name, value] : host.at("Sysctls").items())
    prepare.sysctls.push_back({.name = name, .value = value.get<std::string>()});
  prepare.masked_paths = strings(host, "MaskedPaths");
  prepare.read_only_paths = strings(host, "ReadonlyPaths");
  return prepare;
}

/// `changes` take the places of variables of the same name, a later one that of an earlier one.
/// "NAME" without a value takes away what was there before the changes.
void change_environment(std::vector<std::string>& environment,
                        const std::vector<std::string>& changes) {
  std::vector<std::string> changed;
  std::map<std::string, std::size_t> places;
  const auto put = [&](const std::string& variable) {
    const auto [place, is_new] =
        places.emplace(variable.substr(0, variable.find('=')), changed.size());
    if (is_new) changed.emplace_back();
    changed[place->second] = variable;
  };
  for (const std::string& variable : environment) put(variable);
  const std::size_t before = changed.size();
  for (const std::string& change : changes) {
    if (change.find('=') != std::string::npos) {
      put(change);
    } else if (const auto place = places.find(change);
               place != places.end() && place->second < before) {
      changed[place->second].clear();
    }
  }
  std::erase(changed, "");
  environment = std::move(changed);
}

/// Docker's own variables first, then the container's, which win.
std::vector<std::string> environment_of(const Container& container) {
  std::vector<std::string> environment{std::string(kDefaultPath),
                                       "HOSTNAME=" + hostname_of(container)};
  if (container.settings.tty()) environment.push_back("TERM=xterm");
  change_environment(environment, container.settings.strings("Env"));
  return environment;
}

bool no_new_privileges(const json& host) {
  const std::vector<std::string> options = strings(host, "SecurityOpt");
  return std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option.starts_with("no-new-privileges") && !option.ends_with("false");
  });
}

Result<StartProcess> process_of(const Container& container) {
  const json& host = container.settings.host_config;
  const auto capabilities = capabilities_of(host);
  if (!capabilities) return capabilities.error();
  StartProcess process;
  process.container = kMainContainer;
  process.process = kMainProcess;
  process.argv = container.settings.command_line();
  process.env = environment_of(container);
  const std::string& directory = container.settings.text("WorkingDir");
  process.cwd = directory.empty() ? "/" : directory;
  process.user = container.settings.text("User");
  process.additional_groups = strings(host, "GroupAdd");
  process.tty = container.settings.tty();
  if (process.tty) {
    process.rows = host.at("ConsoleSize").at(0).get<std::uint16_t>();
    process.columns = host.at("ConsoleSize").at(1).get<std::uint16_t>();
  }
  process.open_stdin = container.settings.open_stdin();
  process.capabilities = *capabilities;
  process.no_new_privileges = no_new_privileges(host);
  process.use_init = flag(host, "Init");
  process.oom_score_adj =
      static_cast<std::int32_t>(std::clamp<std::int64_t>(number(host, "OomScoreAdj"), -1000, 1000));
  for (const json& limit : host.at("Ulimits")) {
    const auto value = [&](const char* key) {
      return static_cast<std::uint64_t>(limit.value(key, std::int64_t{0}));  // -1: unlimited
    };
    process.rlimits.push_back({.name = limit.at("Name").get<std::string>(),
                               .soft = value("Soft"),
                               .hard = value("Hard")});
  }
  return process;
}

}  // namespace

std::vector<std::string> volume_places(const json& config) {
  std::set<std::string> places;
  const auto found = config.find("Volumes");
  if (found != config.end() && found->is_object())
    for (const auto& [path, nothing] : found->items()) {
      std::string place = std::filesystem::path("/" + path).lexically_normal().string();
      if (place.size() > 1 && place.ends_with('/')) place.pop_back();
      places.insert(std::move(place));
    }
  return {places.begin(), places.end()};
}

void fill_in_default_paths(json& host_config) {
  const bool privileged = flag(host_config, "Privileged");
  if (host_config.at("MaskedPaths").is_null() && !privileged)
    host_config["MaskedPaths"] = kMaskedPaths;
  if (host_config.at("ReadonlyPaths").is_null() && !privileged)
    host_config["ReadonlyPaths"] = kReadOnlyPaths;
}

Result<std::uint64_t> capabilities_of(const json& host) {
  return capabilities_for(strings(host, "CapAdd"), strings(host, "CapDrop"),
                          flag(host, "Privileged"));
}

net::awaitable<Result<SeccompFilters::Filter>> seccomp_filter_for(SeccompFilters& filters,
                                                                  ContainerPtr container) {
  const json& host = container->settings.host_config;
  const auto capabilities = capabilities_of(host);
  if (!capabilities) co_return capabilities.error();
  auto profile = seccomp_profile_text(host);
  co_return co_await filters.get(std::move(profile), *capabilities);
}

std::filesystem::path storage_of(const Container& container) {
  return container.directory.parent_path();
}

Result<PrepareContainer::Limits> limits_for(const Settings& settings,
                                            const std::filesystem::path& storage) {
  const json& host = settings.host_config;
  PrepareContainer::Limits limits;
  const auto rates = block_rates_for(host, storage);
  if (!rates) return rates.error();
  limits.read_bytes = rates->read_bps;
  limits.write_bytes = rates->write_bps;
  limits.read_operations = rates->read_iops;
  limits.write_operations = rates->write_iops;
  limits.memory_bytes = positive(host, "Memory");
  limits.memory_swap_bytes = number(host, "MemorySwap");
  limits.memory_low_bytes = positive(host, "MemoryReservation");
  if (const std::uint64_t nano = positive(host, "NanoCpus"); nano > 0) {
    limits.cpu_quota_us = nano * limits.cpu_period_us / 1'000'000'000;
  } else {
    limits.cpu_quota_us = positive(host, "CpuQuota");
    if (const std::uint64_t period = positive(host, "CpuPeriod"); period > 0)
      limits.cpu_period_us = period;
  }
  limits.cpu_shares = positive(host, "CpuShares");
  limits.cpuset = host.at("CpusetCpus").get<std::string>();
  limits.pids = positive(host, "PidsLimit");
  return limits;
}

std::string hostname_of(const Container& container) {
  const std::string& asked = container.settings.text("Hostname");
  return asked.empty() ? container.short_id() : asked;
}

std::string hosts_file_of(const Container& container, const std::optional<Endpoint>& endpoint) {
  std::string hosts =
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
      "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  for (const std::string& extra : strings(container.settings.host_config, "ExtraHosts")) {
    const std::size_t split = extra.find_first_of(":=");
    if (split == std::string::npos) continue;
    std::string address = extra.substr(split + 1);
    if (address == "host-gateway") address = endpoint ? endpoint->gateway : "127.0.0.1";
    hosts += address + "\t" + extra.substr(0, split) + "\n";
  }
  if (!endpoint) return hosts;
  const std::string name = hostname_of(container);
  const std::string& domain = container.settings.text("Domainname");
  hosts +=
      endpoint->address + "\t" + (domain.empty() ? "" : name + "." + domain + " ") + name + "\n";
  return hosts;
}

Result<MachineSpec> machine_spec_for(const Container& container, StartContext context) {
  auto process = process_of(container);
  if (!process) return std::move(process).error();
  const json& host = container.settings.host_config;
  MachineSpec spec;
  spec.id = container.id;
  spec.shape = shape_for(positive(host, "Memory"), number(host, "NanoCpus"), context.default_shape);
  const std::string cpuset = host.at("CpusetCpus").get<std::string>();
  if (const auto highest = highest_cpu(cpuset); highest && *highest >= spec.shape.vcpus)
    return Error{Code::kInvalidArgument,
                 "Requested CPUs are not available - requested " + cpuset.substr(0, 64) +
                     ", available: 0" +
                     (spec.shape.vcpus > 1 ? "-" + std::to_string(spec.shape.vcpus - 1) : "")};
  spec.layers = container.layers;
  spec.disk = container.disk();
  spec.machine_id = random_id().substr(0, 32);
  spec.secret = container.state.machine_secret;
  spec.container = container_of(container, context);
  add_volumes(container, context.mount_disks, spec);
  auto limits = limits_for(container.settings, storage_of(container));
  if (!limits) return std::move(limits).error();
  spec.container.limits = *std::move(limits);
  auto weights = group_weights_for(host);
  if (!weights) return std::move(weights).error();
  spec.weights = *std::move(weights);
  spec.process = *std::move(process);
  spec.sink = container.output;
  return spec;
}

Result<StartProcess> exec_process_for(const Container& container, const ExecSettings& exec) {
  auto process = process_of(container);
  if (!process) return process;
  process->argv = exec.command;
  change_environment(process->env, exec.env);
  if (!exec.user.empty()) process->user = exec.user;
  if (!exec.working_dir.empty()) process->cwd = exec.working_dir;
  process->tty = exec.tty;
  process->open_stdin = exec.attach_stdin;
  process->use_init = false;
  if (exec.privileged) process->capabilities = kAllCapabilities;
  return process;
}

StartRefusal explain_refusal(const protocol::Failure& failure, const std::string& argv0) {
  const std::string prefix = "unable to start container process: ";
  const std::string quoted = "exec: \"" + argv0 + "\": ";
  switch (failure.kind) {
    case protocol::FailureKind::kExecutableNotFound:
      if (argv0.find('/') == std::string::npos)
        return {prefix + quoted + "executable file not found in $PATH", 127};
      return {prefix + quoted + "stat " + argv0 + ": no such file or directory", 127};
    case protocol::FailureKind::kNotExecutable:
      if (failure.error_number == EISDIR) return {prefix + quoted + "is a directory", 126};
      if (failure.error_number == ENOEXEC) return {prefix + quoted + "exec format error", 126};
      return {prefix + quoted + "permission denied", 126};
    case protocol::FailureKind::kNoSuchUser:
      return {failure.message.substr(0, kMaxGuestText), 126};
    default:
      break;
  }
  std::string message = prefix + failure.stage.substr(0, kMaxGuestText) + ": " +
                        failure.message.substr(0, kMaxGuestText);
  if (failure.error_number != 0)
    message += std::string(" (") + std::strerror(failure.error_number) + ")";
  return {std::move(message), 128};
}

}  // namespace engine
