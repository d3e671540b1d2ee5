// What tests of machines share beside a LoopFixture: monitors that are fake_monitor.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/testing/loop_fixture.h"
#include "api/machines/clone_machine.h"

namespace engine::testing {

namespace fs = std::filesystem;

/// Spawns for real; has no KVM, no cgroups, no network.
class TestPrivileged : public Privileged {
 public:
  std::map<std::string, GroupWeights> group_weights;

  base::Result<base::UniqueFd> open_kvm() override {
    return base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  }
  base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) override {
    ++spawned;
    last_uid = spec.uid;
    return base::spawn(
        {.argv = {spec.program},
         .descriptors = {-1, -1, spec.log_file, spec.control_socket, spec.kvm, spec.result_file},
         .group = -1,
         .oom_score_adj = 0});
  }
  base::Result<void> set_weights(const std::string& group, const GroupWeights& weights) override {
    group_weights[group] = weights;
    return {};
  }
  void remove_group(const std::string&) override {}
  base::Result<void> create_bridge(const BridgeSpec&) override { return none(); }
  base::Result<base::UniqueFd> create_tap(const TapRule&, const std::string&,
                                          std::uint32_t) override {
    return none();
  }
  base::Result<void> delete_bridge(const std::string&) override { return none(); }
  base::Result<void> enable_forwarding() override { return none(); }
  base::Result<void> install_rules(const RuleSpec&) override { return none(); }
  base::Result<void> remove_rules(const std::string&) override { return none(); }
  base::Result<void> allow_tap(const TapRule&) override { return none(); }
  base::Result<void> forbid_tap(const TapRule&) override { return none(); }

  int spawned = 0;
  uid_t last_uid = 0;

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

  EndpointLease lend_next() {
    return lend_address("172.17.0." + std::to_string(2 + made_++),
                        base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  }

  NetworkInfo default_network() const override { return {}; }
  net::awaitable<base::Result<EndpointLease>> connect(std::string) override {
    co_return lend_next();
  }
  base::Result<EndpointLease> resume(const Endpoint& endpoint) override {
    return lend_address(endpoint.address, {});
  }
  void refill() override { ++refills; }
  std::string resolv_conf(std::vector<std::string>, std::vector<std::string>,
                          std::vector<std::string>) const override {
    return {};
  }

 private:
  EndpointLease lend_address(std::string address, base::UniqueFd tap) {
    lent.insert(address);
    Endpoint endpoint;
    endpoint.address = std::move(address);
    return lend(std::move(endpoint), std::move(tap));
  }
  void take_back(const Endpoint& endpoint) override { lent.erase(endpoint.address); }

  int made_ = 0;
};

class MachineFixture : public async::testing::LoopFixture {
 protected:
  MachineFixture() { fs::create_directory(run_directory()); }
  // What waits in the io_context may still use what is below.
  ~MachineFixture() override { io_.reset(); }

  fs::path run_directory() const { return directory_.path() / "run"; }

  MonitorLauncher::Config launcher_config() const {
    return {
        .run = run_directory(), .program = FAKE_MONITOR, .group_prefix = "test-", .first_uid = 0};
  }

  static constexpr protocol::Secret kSecret = {1, 2, 3};

  MachineSpec spec(std::vector<std::string> argv, std::shared_ptr<OutputSink> sink = nullptr) {
    MachineSpec spec;
    spec.id = "c0ffee";
    spec.disk = file("disk", std::string(4096, '\0'));
    spec.layers = {{file("layer", std::string(4096, 'l')), 4096}};
    spec.machine_id = std::string(32, 'a');
    spec.secret = kSecret;
    spec.process.process = 1;
    spec.process.argv = std::move(argv);
    spec.sink = std::move(sink);
    return spec;
  }

  TestPrivileged privileged_;
};

}  // namespace engine::testing
