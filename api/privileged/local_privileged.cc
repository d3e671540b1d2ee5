#include "api/privileged/local_privileged.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <thread>

#include "api/privileged/host_files.h"
#include "api/privileged/links.h"
#include "api/privileged/network_rules.h"
#include "api/privileged/packet_rules.h"
#include "api/privileged/port_reservation.h"
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

constexpr const char* kForwarding = "/proc/sys/net/ipv4/ip_forward";

std::string list_line(const PortRule& rule) {
  return std::string(to_string(rule.protocol)) + " " + rule.host_address + " " +
         std::to_string(rule.host_port) + "\n";
}

constexpr const char* kForwarding6 = "/proc/sys/net/ipv6/conf/all/forwarding";

bool is_on(const fs::path& switched) {
  std::ifstream file(switched);
  return file.get() == '1';
}

/// Where a host says what it does with IPv6 on one of its interfaces.
fs::path ipv6_of(const std::string& interface) {
  return fs::path("/proc/sys/net/ipv6/conf") / interface;
}

/// Interfaces of the host that are no machines': neither a network's bridge nor a tap.
std::vector<std::string> interfaces_of_others(const std::string& table,
                                              const std::string& tap_prefix) {
  const auto bridges = network_rules::bridges(table);
  std::vector<std::string> names = links::with_prefix("");
  std::erase_if(names, [&](const std::string& name) {
    return (!tap_prefix.empty() && name.starts_with(tap_prefix)) ||
           std::ranges::find(bridges, name) != bridges.end();
  });
  return names;
}

/// Of these, those that have their routes from routers, and would lose them when this host
/// forwards.
std::vector<std::string> hearing_routers(std::vector<std::string> names) {
  std::erase_if(names, [](const std::string& name) {
    return !is_on(ipv6_of(name) / "accept_ra") || is_on(ipv6_of(name) / "forwarding");
  });
  return names;
}

/// Of those that are still there, and as they were left.
void set_accept_ra(const std::vector<std::string>& names, char from, const std::string& to) {
  for (const std::string& name : names) {
    const fs::path file = ipv6_of(name) / "accept_ra";
    if (std::ifstream(file).get() == from) [[maybe_unused]]
      const auto written = write_file(file, to);
  }
}

/// The bridge's own address, without whatever the network could tell it of addresses and routes.
Result<void> give_ipv6(const BridgeSpec& spec) {
  const fs::path settings = ipv6_of(spec.name);
  for (const char* off :
       {"accept_ra", "autoconf", "accept_redirects", "accept_dad", "disable_ipv6"})
    RETURN_IF_ERROR(write_file(settings / off, "0"));
  return links::add_address6(spec.name, spec.address6, spec.prefix_length6);
}

/// Where cgroup v2 is mounted: its own hierarchy, or beside version 1.
Result<fs::path> group_mount() {
  for (const char* candidate : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"})
    if (::access((fs::path(candidate) / "cgroup.controllers").c_str(), R_OK) == 0)
      return fs::path(candidate);
  return Error{Code::kNotSupported, "no cgroup v2 is mounted below /sys/fs/cgroup"};
}

/// Of a monitor's cgroup: its slot follows.
const std::string kGroupPrefix = "machine-";

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

fs::path LocalPrivileged::group_of(MonitorSlot slot) const {
  return config_.group_root / (kGroupPrefix + std::to_string(slot));
}

std::vector<MonitorSlot> LocalPrivileged::groups() const {
  std::vector<MonitorSlot> slots;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(config_.group_root, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kGroupPrefix)) continue;
    const char* const end = name.data() + name.size();
    MonitorSlot slot = 0;
    const auto number = std::from_chars(name.data() + kGroupPrefix.size(), end, slot);
    if (number.ec == std::errc() && number.ptr == end) slots.push_back(slot);
  }
  return slots;
}

void LocalPrivileged::remove_strays() {
  if (config_.group_root.empty()) return;
  for (const MonitorSlot slot : groups()) {
    const std::lock_guard lock(slots_mutex_);
    if (!slots_.contains(slot)) remove_group(slot);
  }
}

Result<MonitorSlot> LocalPrivileged::take_slot() {
  const std::lock_guard lock(slots_mutex_);
  MonitorSlot slot = 0;
  while (slots_.contains(slot)) ++slot;
  if (slot >= UidRange::kUids) return Error{Code::kResourceExhausted, "too many machines"};
  slots_.insert(slot);
  return slot;
}

void LocalPrivileged::keep_monitor(MonitorSlot slot) {
  const std::lock_guard lock(slots_mutex_);
  slots_.insert(slot);
}

void LocalPrivileged::release_monitor(MonitorSlot slot) {
  remove_group(slot);
  const std::lock_guard lock(slots_mutex_);
  slots_.erase(slot);
}

Result<base::UniqueFd> LocalPrivileged::make_group(MonitorSlot slot, const GroupLimits& limits) {
  if (config_.group_root.empty()) return base::UniqueFd();
  const fs::path path = group_of(slot);
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
  const auto slot = take_slot();
  if (!slot) return slot.error();
  auto process = spawn_in(*slot, spec);
  if (process) return SpawnedMonitor{.process = *std::move(process), .slot = *slot};
  release_monitor(*slot);
  return std::move(process).error();
}

Result<base::Spawned> LocalPrivileged::spawn_in(MonitorSlot slot, const MonitorSpec& spec) {
  const base::UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return base::errno_error("open /dev/kvm");
  const auto network_namespace = empty_network_namespace();
  if (!network_namespace) return network_namespace.error();
  const auto group = make_group(slot, spec.limits);
  if (!group) return group.error();
  const std::string uid = std::to_string(config_.first_uid + slot);
  return base::spawn({.argv = {spec.program, "--control-fd", "3", "--kvm-fd", "4", "--result-fd",
                               "5", "--uid", uid, "--gid", uid, "--netns-fd", "6"},
                      .descriptors = {-1, -1, spec.log_file, spec.control_socket, kvm.get(),
                                      spec.result_file, *network_namespace},
                      .own_pid_namespace = true,
                      .group = group->get(),
                      .oom_score_adj = kMonitorOomScore});
}

Result<base::Spawned> LocalPrivileged::spawn_file_server(const FileServerSpec& spec) {
  const auto network_namespace = empty_network_namespace();
  if (!network_namespace) return network_namespace.error();
  base::UniqueFd group;
  if (!config_.group_root.empty()) {
    group.reset(::open(group_of(spec.slot).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!group) return base::errno_error("open cgroup " + group_of(spec.slot).string());
  }
  return base::spawn({.argv = {spec.program},
                      .descriptors = {-1, -1, spec.log_file, spec.session_socket,
                                      spec.control_socket, *network_namespace},
                      .own_pid_namespace = true,
                      .group = group.get(),
                      .oom_score_adj = kMonitorOomScore});
}

Result<HostFile> LocalPrivileged::check_host_path(const std::string& path) {
  return host_files::check(path, config_.host_access);
}

Result<base::UniqueFd> LocalPrivileged::open_host_tree(const HostTree& tree) {
  return host_files::open(tree, config_.host_access);
}

Result<base::UniqueFd> LocalPrivileged::connect_host_socket(const std::string& path) {
  return host_files::connect(path, config_.host_access);
}

Result<void> LocalPrivileged::set_weights(MonitorSlot slot, const GroupWeights& weights) {
  if (config_.group_root.empty()) return {};
  const fs::path path = group_of(slot);
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

void LocalPrivileged::remove_group(MonitorSlot slot) const {
  if (config_.group_root.empty()) return;
  const fs::path path = group_of(slot);
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return;
  // Something is left in it: end that, which takes a moment. (The next daemon comes again.)
  [[maybe_unused]] const auto ended = write_file(path / "cgroup.kill", "1");
  constexpr int kAttempts = 100;
  constexpr std::chrono::milliseconds kBetween{10};
  for (int attempt = 0; attempt < kAttempts && ::rmdir(path.c_str()) != 0 && errno == EBUSY;
       ++attempt)
    std::this_thread::sleep_for(kBetween);
}

Result<void> LocalPrivileged::create_bridge(const BridgeSpec& spec) {
  if (!spec.address6.empty() && !fs::exists(kForwarding6))
    return Error{Code::kNotSupported, "this host has no IPv6"};
  if (auto made = links::create_bridge(spec.name);
      !made && (made.error().code != Code::kAlreadyExists || !spec.take_over))
    return made;
  RETURN_IF_ERROR(links::set_mac(spec.name, spec.mac));
  RETURN_IF_ERROR(links::set_address(spec.name, spec.address, spec.prefix_length));
  RETURN_IF_ERROR(links::set_mtu(spec.name, spec.mtu));
  // What the host's loopback sends to a published port leaves with a loopback address until it is
  // masqueraded.
  RETURN_IF_ERROR(write_file("/proc/sys/net/ipv4/conf/" + spec.name + "/route_localnet", "1"));
  if (!spec.address6.empty()) RETURN_IF_ERROR(give_ipv6(spec));
  return links::set_up(spec.name, true);
}

Result<base::UniqueFd> LocalPrivileged::create_tap(const TapRule& rule, const TapPort& port) {
  auto tap = links::create_tap(rule.tap);
  if (!tap) return tap;
  auto connected = connect_tap(rule, port);
  if (connected) return tap;
  tap->reset();
  [[maybe_unused]] const auto forgotten = forbid_tap(rule);  // the first error is the one to tell
  return std::move(connected).error();
}

Result<void> LocalPrivileged::connect_tap(const TapRule& rule, const TapPort& port) {
  RETURN_IF_ERROR(allow_tap(rule));
  // The host itself sends nothing over IPv6 into the tap.
  [[maybe_unused]] const auto no_ipv6 =
      write_file("/proc/sys/net/ipv6/conf/" + rule.tap + "/disable_ipv6", "1");
  RETURN_IF_ERROR(links::set_mtu(rule.tap, port.mtu));
  RETURN_IF_ERROR(links::add_to_bridge(port.bridge, rule.tap));
  if (port.isolated) RETURN_IF_ERROR(links::isolate(rule.tap));
  return links::set_up(rule.tap, true);
}

Result<void> LocalPrivileged::delete_bridge(const std::string& name) {
  if (!links::exists(name)) return {};
  RETURN_IF_ERROR(links::set_up(name, false));
  return links::delete_bridge(name);
}

Result<void> LocalPrivileged::install_rules(const RuleSpec& spec) {
  const std::lock_guard lock(rules_mutex_);
  // A daemon that was killed may have switched it on: its table still says so.
  auto host = network_rules::host_links(spec.table);
  if (!is_on(kForwarding)) host.guarded = links::with_prefix("");
  RETURN_IF_ERROR(packet_rules::install(spec, host));
  tap_prefix_ = spec.tap_prefix;
  ports_.clear();
  RETURN_IF_ERROR(list_ports());
  return write_file(kForwarding, "1");
}

Result<void> LocalPrivileged::remove_rules(const std::string& table) {
  const std::lock_guard lock(rules_mutex_);
  const auto host = network_rules::host_links(table);
  RETURN_IF_ERROR(packet_rules::remove(table));
  if (!host.guarded6.empty()) RETURN_IF_ERROR(write_file(kForwarding6, "0"));
  set_accept_ra(host.heard_routers, '2', "1");
  return host.guarded.empty() ? Result<void>() : write_file(kForwarding, "0");
}

/// First the guard, then what it guards from; routes from routers go when forwarding begins unless
/// their interface says before that it stays with them.
Result<void> LocalPrivileged::forward_ipv6(const std::string& table) {
  if (is_on(kForwarding6)) return {};
  const auto others = interfaces_of_others(table, tap_prefix_);
  const network_rules::HostLinks host{
      .guarded = {}, .guarded6 = others, .heard_routers = hearing_routers(others)};
  RETURN_IF_ERROR(network_rules::guard_ipv6(table, host));
  set_accept_ra(host.heard_routers, '1', "2");
  return write_file(kForwarding6, "1");
}

Result<void> LocalPrivileged::add_network(const NetworkRule& rule) {
  const std::lock_guard lock(rules_mutex_);
  RETURN_IF_ERROR(network_rules::add(rule));
  if (rule.subnet6.empty()) return {};
  auto forwarded = forward_ipv6(rule.table);
  if (!forwarded) [[maybe_unused]]
    const auto removed = network_rules::remove(rule);  // the first error is the one to tell
  return forwarded;
}

Result<void> LocalPrivileged::remove_network(const NetworkRule& rule) {
  const std::lock_guard lock(rules_mutex_);
  return network_rules::remove(rule);
}

Result<base::UniqueFd> LocalPrivileged::publish(const PortRule& rule) {
  auto reserved = reserve_port(rule.protocol, rule.host_address, rule.host_port);
  if (!reserved) return reserved;
  const std::lock_guard lock(rules_mutex_);
  RETURN_IF_ERROR(network_rules::publish(rule));
  ports_.insert(list_line(rule));
  if (const auto listed = list_ports(); !listed) {
    ports_.erase(list_line(rule));
    [[maybe_unused]] const auto withdrawn = network_rules::withdraw(rule);
    return listed.error();
  }
  return reserved;
}

Result<void> LocalPrivileged::list_ports() const {
  if (config_.port_list.empty()) return {};
  std::string text;
  for (const std::string& line : ports_) text += line;
  fs::path aside = config_.port_list;
  aside += ".new";
  std::ofstream file(aside, std::ios::trunc);
  if (!(file << text).flush()) return Error{Code::kInternal, "write " + aside.string()};
  std::error_code error;
  fs::rename(aside, config_.port_list, error);
  if (error) return Error{Code::kInternal, "rename " + aside.string() + ": " + error.message()};
  return {};
}

Result<void> LocalPrivileged::withdraw(const PortRule& rule) {
  const std::lock_guard lock(rules_mutex_);
  ports_.erase(list_line(rule));
  RETURN_IF_ERROR(list_ports());
  return network_rules::withdraw(rule);
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
