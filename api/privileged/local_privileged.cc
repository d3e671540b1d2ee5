#include "api/privileged/local_privileged.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "api/privileged/links.h"
#include "api/privileged/packet_rules.h"
#include "guest-init/protocol/cpu_weight.h"
#include "vmm/base/spawn.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

Result<void> write_file(const fs::path& path, const std::string& text) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return base::errno_error("open " + path.string());
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return base::errno_error("write " + path.string());
  return {};
}

/// Where cgroup v2 is mounted: its own hierarchy, or beside version 1.
Result<fs::path> group_mount() {
  for (const char* candidate : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"})
    if (::access((fs::path(candidate) / "cgroup.controllers").c_str(), R_OK) == 0)
      return fs::path(candidate);
  return Error{Code::kNotSupported, "no cgroup v2 is mounted below /sys/fs/cgroup"};
}

/// Docker's 10..1000 on the scale of 1..10000.
std::uint32_t io_weight(std::uint32_t weight) {
  return 1 + (std::clamp<std::uint32_t>(weight, 10, 1000) - 10) * 9999 / 990;
}

}  // namespace

Result<fs::path> LocalPrivileged::make_group_root(const std::string& name) {
  const auto mount = group_mount();
  if (!mount) return mount.error();
  const fs::path root = *mount / name;
  if (::mkdir(root.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("make cgroup " + root.string());
  for (const fs::path& parent : {*mount, root})
    if (auto done = write_file(parent / "cgroup.subtree_control", "+memory +pids"); !done) {
      ::rmdir(root.c_str());
      return Error{Code::kNotSupported, "the memory and pids cgroup controllers are not available"};
    }
  // Weights are refused where they are asked for, should these not be there.
  for (const char* more : {"+cpu", "+io"})
    for (const fs::path& parent : {*mount, root})
      [[maybe_unused]] const auto enabled = write_file(parent / "cgroup.subtree_control", more);
  return root;
}

Result<base::UniqueFd> LocalPrivileged::open_kvm() {
  base::UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return base::errno_error("open /dev/kvm");
  return kvm;
}

Result<base::UniqueFd> LocalPrivileged::make_group(const std::string& group,
                                                   const GroupLimits& limits) {
  if (config_.group_root.empty()) return base::UniqueFd();
  const fs::path path = config_.group_root / group;
  // One whose removal failed earlier is used again.
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("make cgroup " + path.string());
  RETURN_IF_ERROR(write_file(path / "memory.max", std::to_string(limits.memory_bytes)));
  RETURN_IF_ERROR(write_file(path / "pids.max", std::to_string(limits.tasks)));
  base::UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::errno_error("open cgroup " + path.string());
  return directory;
}

Result<int> LocalPrivileged::empty_network_namespace() {
  const std::lock_guard lock(namespace_mutex_);
  if (network_namespace_) return network_namespace_.get();
  Result<void> made;
  std::thread maker([&] {  // only this thread moves into it
    if (::unshare(CLONE_NEWNET) != 0) {
      made = base::errno_error("make a network namespace");
      return;
    }
    network_namespace_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!network_namespace_) made = base::errno_error("open a network namespace");
  });
  maker.join();
  if (!made) return std::move(made).error();
  return network_namespace_.get();
}

Result<SpawnedMonitor> LocalPrivileged::spawn_monitor(const MonitorSpec& spec) {
  const auto network_namespace = empty_network_namespace();
  if (!network_namespace) return network_namespace.error();
  auto group = make_group(spec.group, spec.limits);
  if (!group) {
    remove_group(spec.group);
    return std::move(group).error();
  }
  const base::SpawnPlan plan{
      .argv = {spec.program, "--control-fd", "3", "--kvm-fd", "4", "--result-fd", "5", "--uid",
               std::to_string(spec.uid), "--gid", std::to_string(spec.uid), "--netns-fd", "6"},
      .descriptors = {-1, -1, spec.log_file, spec.control_socket, spec.kvm, spec.result_file,
                      *network_namespace},
      .own_pid_namespace = true,
      .group = group->get(),
      .oom_score_adj = kMonitorOomScore};
  auto spawned = base::spawn(plan);
  if (!spawned) remove_group(spec.group);
  return spawned;
}

Result<void> LocalPrivileged::set_weights(const std::string& group, const GroupWeights& weights) {
  if (config_.group_root.empty()) return {};
  const fs::path path = config_.group_root / group;
  const auto has = [&](const char* file) { return ::access((path / file).c_str(), W_OK) == 0; };
  if (has("cpu.weight")) {
    const std::uint64_t weight =
        weights.cpu_shares == 0 ? 100 : protocol::cpu_weight_of_shares(weights.cpu_shares);
    RETURN_IF_ERROR(write_file(path / "cpu.weight", std::to_string(weight)));
  } else if (weights.cpu_shares != 0) {
    return Error{Code::kNotSupported, "this host's kernel has no CPU shares between machines"};
  }
  // BFQ has weights of its own, on Docker's scale.
  const bool bfq = has("io.bfq.weight");
  const bool used = weights.block_io != 0 || !weights.block_io_of.empty();
  if (!bfq && !has("io.weight")) {
    if (!used) return {};
    return Error{Code::kNotSupported, "this host's kernel has no block I/O weights"};
  }
  const fs::path file = path / (bfq ? "io.bfq.weight" : "io.weight");
  const auto scaled = [&](std::uint32_t weight) {
    return std::to_string(bfq ? weight : io_weight(weight));
  };
  RETURN_IF_ERROR(write_file(
      file, "default " + (weights.block_io == 0 ? std::string("100") : scaled(weights.block_io))));
  for (const auto& [device, weight] : weights.block_io_of)
    RETURN_IF_ERROR(write_file(file, device + " " + scaled(weight)));
  return {};
}

void LocalPrivileged::remove_group(const std::string& group) {
  if (config_.group_root.empty() || group.empty()) return;
  const fs::path path = config_.group_root / group;
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return;
  // Something is left in it: end that. The caller comes again (a later start removes strays).
  [[maybe_unused]] const auto ended = write_file(path / "cgroup.kill", "1");
  ::rmdir(path.c_str());
}

Result<void> LocalPrivileged::create_bridge(const BridgeSpec& spec) {
  if (auto made = links::create_bridge(spec.name);
      !made && made.error().code != Code::kAlreadyExists)
    return made;
  RETURN_IF_ERROR(links::set_mac(spec.name, spec.mac));
  RETURN_IF_ERROR(links::set_address(spec.name, spec.address, spec.prefix_length));
  RETURN_IF_ERROR(links::set_mtu(spec.name, spec.mtu));
  return links::set_up(spec.name, true);
}

Result<base::UniqueFd> LocalPrivileged::create_tap(const TapRule& rule, const std::string& bridge,
                                                   std::uint32_t mtu) {
  auto tap = links::create_tap(rule.tap);
  if (!tap) return tap;
  auto connected = connect_tap(rule, bridge, mtu);
  if (connected) return tap;
  tap->reset();
  [[maybe_unused]] const auto forgotten = forbid_tap(rule);  // the first error is the one to tell
  return std::move(connected).error();
}

Result<void> LocalPrivileged::connect_tap(const TapRule& rule, const std::string& bridge,
                                          std::uint32_t mtu) {
  RETURN_IF_ERROR(allow_tap(rule));
  // The host itself sends nothing over IPv6 into the tap.
  [[maybe_unused]] const auto no_ipv6 =
      write_file("/proc/sys/net/ipv6/conf/" + rule.tap + "/disable_ipv6", "1");
  RETURN_IF_ERROR(links::set_mtu(rule.tap, mtu));
  RETURN_IF_ERROR(links::add_to_bridge(bridge, rule.tap));
  return links::set_up(rule.tap, true);
}

Result<void> LocalPrivileged::delete_bridge(const std::string& name) {
  if (!links::exists(name)) return {};
  RETURN_IF_ERROR(links::set_up(name, false));
  return links::delete_bridge(name);
}

Result<void> LocalPrivileged::enable_forwarding() {
  return write_file("/proc/sys/net/ipv4/ip_forward", "1");
}

Result<void> LocalPrivileged::install_rules(const RuleSpec& spec) {
  const std::lock_guard lock(rules_mutex_);
  return packet_rules::install(spec);
}

Result<void> LocalPrivileged::remove_rules(const std::string& table) {
  const std::lock_guard lock(rules_mutex_);
  return packet_rules::remove(table);
}

Result<void> LocalPrivileged::allow_tap(const TapRule& rule) {
  const std::lock_guard lock(rules_mutex_);
  return packet_rules::allow(rule);
}

Result<void> LocalPrivileged::forbid_tap(const TapRule& rule) {
  const std::lock_guard lock(rules_mutex_);
  return packet_rules::forbid(rule);
}

}  // namespace engine
