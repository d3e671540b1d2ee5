// What tests of machines share beside a LoopFixture: monitors that are fake_monitor.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/testing/loop_fixture.h"
#include "api/machines/clone_machine.h"
#include "api/privileged/host_files.h"
#include "api/privileged/privileged.h"

namespace engine::testing {

namespace fs = std::filesystem;

/// Spawns for real; has no KVM, no cgroups, no network.
class TestActs : public PrivilegedActs {
 public:
  base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) override {
    ++spawned;
    SpawnedMonitor monitor;
    while (slots.contains(monitor.slot)) ++monitor.slot;
    auto process = base::spawn(
        {.argv = {spec.program},
         .descriptors = {-1, -1, spec.log_file, spec.control_socket, -1, spec.result_file},
         .group = -1,
         .oom_score_adj = 0});
    if (!process) return std::move(process).error();
    slots.insert(monitor.slot);
    monitor.process = *std::move(process);
    return monitor;
  }
  void keep_monitor(MonitorSlot slot) override { slots.insert(slot); }
  void release_monitor(MonitorSlot slot) override { slots.erase(slot); }
  void remove_strays() override {}
  base::Result<base::Spawned> spawn_file_server(const FileServerSpec& spec) override {
    ++file_servers;
    return base::spawn(
        {.argv = {spec.program},
         .descriptors = {-1, -1, spec.log_file, spec.session_socket, spec.control_socket},
         .own_pid_namespace = true,
         .oom_score_adj = 0});
  }
  base::Result<HostFile> check_host_path(const std::string& path) override {
    return host_files::check(path, {});
  }
  base::Result<base::UniqueFd> open_host_tree(const HostTree& tree) override {
    return host_files::open(tree, {});
  }
  base::Result<base::UniqueFd> connect_host_socket(const std::string& path) override {
    return host_files::connect(path, {});
  }
  base::Result<void> set_weights(MonitorSlot slot, const GroupWeights& weights) override {
    slot_weights[slot] = weights;
    return {};
  }
  base::Result<void> create_bridge(const BridgeSpec&) override { return none(); }
  base::Result<base::UniqueFd> create_tap(const TapRule&, const TapPort&) override {
    return none();
  }
  base::Result<void> delete_bridge(const std::string&) override { return none(); }
  base::Result<void> install_rules(const RuleSpec&) override { return none(); }
  base::Result<void> remove_rules(const std::string&) override { return none(); }
  base::Result<void> add_network(const NetworkRule&) override { return none(); }
  base::Result<void> remove_network(const NetworkRule&) override { return none(); }
  base::Result<base::UniqueFd> publish(const PortRule&) override { return none(); }
  base::Result<void> withdraw(const PortRule&) override { return none(); }
  base::Result<void> allow_tap(const TapRule&) override { return none(); }
  base::Result<void> forbid_tap(const TapRule&) override { return none(); }

  // Look at them while no act is under way.
  std::atomic<int> spawned = 0;
  std::atomic<int> file_servers = 0;
  std::set<MonitorSlot> slots;  // in use
  std::map<MonitorSlot, GroupWeights> slot_weights;

 private:
  static base::Error none() { return {base::Code::kNotSupported, "not in this test"}; }
};

/// Keeps what it is given; can be told to hold each write back.
class CollectingSink : public OutputSink {
 public:
  explicit CollectingSink(net::any_io_executor executor, bool held = false) : gate_(executor) {
    if (!held) gate_.set();
  }

  net::awaitable<void> write(protocol::Stream stream, std::vector<std::byte> bytes) override {
    EXPECT_FALSE(busy_[stream]) << "two writes at once";
    busy_[stream] = true;
    offered += bytes.size();
    co_await gate_.wait();
    text[stream].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    busy_[stream] = false;
  }

  void hurry() override { gate_.set(); }
  void open_gate() { gate_.set(); }
  std::string out() { return text[protocol::Stream::kStdout]; }
  std::string err() { return text[protocol::Stream::kStderr]; }

  std::map<protocol::Stream, std::string> text;
  std::size_t offered = 0;

 private:
  async::Latch gate_;
  std::map<protocol::Stream, bool> busy_;
};

/// Lends endpoints whose taps are nothing, and counts those that are out.
class TestNetworks : public Networks {
 public:
  std::set<std::string> lent;  // addresses
  int refills = 0;
  std::string next_address6;  // of the endpoints that are lent from now on

  EndpointLease lend_next() {
    return lend_address("172.17.0." + std::to_string(2 + made_++),
                        base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  }

  const NetworkSpec* find(const std::string&) const override { return nullptr; }
  net::awaitable<base::Result<NetworkSpec>> create(NetworkSpec, bool) override { co_return none(); }
  net::awaitable<base::Result<void>> remove(std::string) override { co_return none(); }
  net::awaitable<base::Result<EndpointLease>> connect(EndpointRequest) override {
    co_return lend_next();
  }
  net::awaitable<base::Result<EndpointLease>> resume(Endpoint endpoint) override {
    co_return lend_again(endpoint);
  }
  net::awaitable<base::Result<PortLease>> publish(PortRequest) override { co_return none(); }
  net::awaitable<base::Result<PortLease>> resume_port(PublishedPort) override { co_return none(); }
  void refill() override { ++refills; }
  std::string resolv_conf(ResolverRequest) const override { return {}; }

 private:
  static base::Error none() { return {base::Code::kNotSupported, "not in this test"}; }

  EndpointLease lend_address(std::string address, base::UniqueFd tap) {
    lent.insert(address);
    Endpoint endpoint;
    endpoint.network = "network of " + address;
    endpoint.address = std::move(address);
    endpoint.address6 = next_address6;
    return lend(std::move(endpoint), std::move(tap));
  }
  EndpointLease lend_again(const Endpoint& endpoint) {
    lent.insert(endpoint.address);
    return lend(endpoint);
  }
  void take_back(const Endpoint& endpoint) override { lent.erase(endpoint.address); }
  void take_back_port(const PublishedPort&, base::UniqueFd) override {}

  int made_ = 0;
};

class MachineFixture : public async::testing::LoopFixture {
 protected:
  MachineFixture() { fs::create_directory(run_directory()); }
  // What waits in the io_context may still use what is below; its threads use the io_context.
  ~MachineFixture() override {
    privileged_.settle();
    io_.reset();
  }

  fs::path run_directory() const { return directory_.path() / "run"; }

  MonitorLauncher::Config launcher_config() const {
    return {.run = run_directory(), .program = FAKE_MONITOR, .file_server = FILE_SERVER};
  }

  static constexpr protocol::Secret kSecret = {1, 2, 3};

  static MachineSpec machine_spec(std::string id = "c0ffee") {
    MachineSpec spec;
    spec.id = std::move(id);
    spec.machine_id = std::string(32, 'a');
    spec.secret = kSecret;
    return spec;
  }

  /// With its process, both of this number.
  ContainerSpec container_spec(std::vector<std::string> argv,
                               std::shared_ptr<OutputSink> sink = nullptr,
                               ContainerNumber number = kMainContainer) {
    const std::string suffix = number == kMainContainer ? "" : std::to_string(number);
    ContainerSpec spec;
    spec.disk = file("disk" + suffix, std::string(4096, '\0'));
    spec.layers = {{file("layer" + suffix, std::string(4096, 'l')), 4096}};
    spec.settings.container = number;
    spec.process.container = number;
    spec.process.process = number;
    spec.process.argv = std::move(argv);
    spec.sink = std::move(sink);
    return spec;
  }

  TestActs acts_;
  Privileged privileged_{acts_, 1};
};

}  // namespace engine::testing
