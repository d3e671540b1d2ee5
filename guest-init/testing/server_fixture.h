// The fixture of the tests that talk to a whole guest-init, on whichever machine is linked in.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/protocol/docker_defaults.h"
#include "guest-init/testing/test_machine.h"

namespace guest_init::testing {

inline constexpr std::uint64_t kDockerCapabilities = 0xa80425fb;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override { boot(); }

  /// The machine, in place of the one before it.
  void boot(const std::vector<std::string>& volumes = {}) {
    control_.reset();
    machine_.reset();
    auto machine = TestMachine::start(volumes);
    if (!machine && machine.error().code == base::Code::kNotSupported)
      GTEST_SKIP() << "cannot run here: " << machine.error().message;
    ASSERT_TRUE(machine) << machine.error().message;
    machine_ = *std::move(machine);
    control_.emplace(machine_->connect_control());
    control_->send(protocol::Hello{});
    ASSERT_TRUE(control_->receive_as<protocol::HelloReply>());
  }

  void identify() {
    protocol::SetIdentity identity;
    identity.machine_id = std::string(32, 'a');
    identity.secret = kTestSecret;
    identity.entropy.fill(static_cast<std::uint8_t>(getpid()));
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    identity.realtime_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    control_->send(identity);
    expect_done();
  }

  void expect_done() {
    const auto done = control_->receive_as<protocol::Done>();
    ASSERT_TRUE(done) << done.error().message;
  }

  protocol::Failure expect_failure() {
    const auto failure = control_->receive_as<protocol::Failure>();
    EXPECT_TRUE(failure) << failure.error().message;
    return failure ? *failure : protocol::Failure{};
  }

  protocol::PrepareContainer container_spec() {
    protocol::PrepareContainer spec;
    spec.container = 1;
    spec.layers = machine_->disks().places();
    spec.disk = machine_->disks().writable_place;
    spec.volume_disks = machine_->disks().volume_places();
    spec.hostname = "box";
    spec.hostname_file = "box\n";
    spec.hosts_file = "127.0.0.1 localhost\n";
    spec.resolv_conf_file = "nameserver 192.0.2.1\n";
    spec.masked_paths = {protocol::kDefaultMaskedPaths.begin(),
                         protocol::kDefaultMaskedPaths.end()};
    spec.read_only_paths = {protocol::kDefaultReadOnlyPaths.begin(),
                            protocol::kDefaultReadOnlyPaths.end()};
    return spec;
  }

  void prepare(const protocol::PrepareContainer& spec) {
    control_->send(spec);
    expect_done();
  }
  void prepare_default() {
    identify();
    prepare(container_spec());
  }

  static protocol::StartProcess process_spec(std::uint32_t process, std::string script) {
    protocol::StartProcess spec;
    spec.container = 1;
    spec.process = process;
    spec.argv = {"sh", "-c", std::move(script)};
    spec.env = {"PATH=/usr/local/bin:/usr/bin:/bin"};
    spec.capabilities = kDockerCapabilities;
    return spec;
  }

  void start(const protocol::StartProcess& spec) {
    control_->send(spec);
    const auto started = control_->receive_as<protocol::ProcessStarted>();
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_EQ(started->process, spec.process);
  }

  protocol::ExitStatus wait_exit() {
    const auto exited = control_->receive_as<protocol::ProcessExited>();
    EXPECT_TRUE(exited) << exited.error().message;
    return exited ? exited->status : protocol::ExitStatus{};
  }

  /// Runs `spec` to its end and returns what it wrote to standard output.
  std::string output_of(const protocol::StartProcess& spec) {
    HostConnection out = machine_->open_stream(spec.process, protocol::Stream::kStdout);
    start(spec);
    std::string text = out.read_to_end();
    last_status_ = wait_exit();
    return text;
  }

  std::unique_ptr<TestMachine> machine_;
  std::optional<HostConnection> control_;
  protocol::ExitStatus last_status_;
};

}  // namespace guest_init::testing
