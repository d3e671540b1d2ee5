// Containers in one machine that share namespaces, as their processes see it.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <utility>

#include "guest-init/testing/server_fixture.h"

namespace guest_init::testing {
namespace {

/// A second container in the machine, with namespaces of the first, which is a shell that sleeps.
class SharingTest : public ServerTest {
 protected:
  using Namespaces = protocol::PrepareContainer::Namespaces;

  void begin(std::string script = "sleep 1000; true") {
    prepare_default();
    start(process_spec(1, std::move(script)));
  }
  /// Until it has given something, which a process that was only started need not have.
  void begin_giving() {
    begin("echo given > /dev/shm/given; sleep 1000; true");
    output_of(process_spec(5, "until [ -s /dev/shm/given ]; do :; done"));
  }

  protocol::PrepareContainer joiner_spec(Namespaces namespaces) {
    protocol::PrepareContainer spec = container_spec();
    spec.container = 2;
    spec.namespaces = namespaces;
    spec.disk = machine_->disks().further_place;
    spec.volume_disks.clear();
    spec.hostname = "joiner";
    spec.hostname_file = "joiner\n";
    spec.hosts_file = "127.0.0.1 joiners\n";
    return spec;
  }
  static protocol::StartProcess joiner_process(std::uint32_t process, std::string script) {
    protocol::StartProcess spec = process_spec(process, std::move(script));
    spec.container = 2;
    return spec;
  }
  void kill_process(std::uint32_t process) {
    protocol::SignalProcess kill;
    kill.process = process;
    kill.signal = SIGKILL;
    control_->send(kill);
  }
};

TEST_F(SharingTest, ASecondContainerHasARootAndNamesOfItsOwn) {
  begin();
  prepare(joiner_spec({}));

  const std::string output = output_of(joiner_process(
      2, "echo $$; hostname; cat /etc/hostname /etc/hosts; ls /own 2>/dev/null; echo x > /own"));

  EXPECT_EQ(output, "1\njoiner\njoiner\n127.0.0.1 joiners\n");
  EXPECT_EQ(output_of(process_spec(3, "ls /own 2>/dev/null; echo looked")), "looked\n");
}

TEST_F(SharingTest, SharesTheNetworkWithItsFiles) {
  begin();
  const std::string ours = output_of(process_spec(3, "stat -L -c %i /proc/self/ns/net"));
  prepare(joiner_spec({.network = 1}));

  const std::string output = output_of(joiner_process(
      2,
      "stat -L -c %i /proc/self/ns/net; echo $$; hostname; cat /etc/hostname; echo mine > "
      "/etc/hosts"));

  EXPECT_EQ(output, ours + "1\njoiner\nbox\n");
  EXPECT_EQ(output_of(process_spec(4, "cat /etc/hosts")), "mine\n");
}

TEST_F(SharingTest, HasNothingButLoopbackWhereItIsToHaveNoNetwork) {
  begin();
  prepare(joiner_spec({.only_loopback = true}));
  const std::string machines = output_of(process_spec(3, "stat -L -c %i /proc/self/ns/net"));

  const std::string output = output_of(joiner_process(
      2, "stat -L -c %i /proc/self/ns/net; ls /sys/class/net; ip -o addr | grep -c 127.0.0.1/8"));

  EXPECT_NE(output.substr(0, machines.size()), machines);
  EXPECT_TRUE(output.ends_with("\nlo\n1\n")) << output;
}

TEST_F(SharingTest, SharesMemoryAndTheIpcNamespace) {
  begin_giving();
  const std::string ours = output_of(process_spec(3, "stat -L -c %i /proc/self/ns/ipc"));
  auto spec = joiner_spec({.ipc = 1});
  spec.shm_bytes = 1u << 20;  // the first one's counts
  prepare(spec);

  const std::string output =
      output_of(joiner_process(2,
                               "stat -L -c %i /proc/self/ns/ipc; cat /dev/shm/given; echo back > "
                               "/dev/shm/back; ls -d /dev/mqueue"));

  EXPECT_EQ(output, ours + "given\n/dev/mqueue\n");
  EXPECT_EQ(output_of(process_spec(4, "cat /dev/shm/back")), "back\n");
}

TEST_F(SharingTest, AThirdContainerSharesWhatTheSecondHasFromTheFirst) {
  begin_giving();
  prepare(joiner_spec({.network = 1, .ipc = 1}));
  start(joiner_process(2, "sleep 1000; true"));
  auto third = joiner_spec({.network = 2, .ipc = 2});
  third.container = 3;
  third.disk = machine_->disks().writable_place;
  third.disk.offset += third.disk.length * 2;  // there is none: it is never written to
  control_->send(third);

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kRootFilesystem);
  EXPECT_EQ(output_of(joiner_process(3, "cat /etc/hostname /dev/shm/given")), "box\ngiven\n");
}

TEST_F(SharingTest, HasNoMemoryFilesWhereItIsToHaveNone) {
  identify();
  auto spec = container_spec();
  spec.shm_bytes = 0;
  prepare(spec);

  EXPECT_EQ(output_of(process_spec(1, "ls -d /dev/shm 2>/dev/null; ls -d /dev/mqueue")),
            "/dev/mqueue\n");
}

TEST_F(SharingTest, SharesProcessesInBothDirections) {
  begin();
  prepare(joiner_spec({.pid = 1}));
  start(joiner_process(2, "sleep 1000; true"));

  const std::string seen =
      output_of(joiner_process(3, "head -c 2 /proc/1/cmdline; echo; hostname"));
  // The first container's processes see the second's, and can end them.
  const std::string killed = output_of(
      process_spec(4,
                   "for p in /proc/[0-9]*; do [ ${p#/proc/} != 1 ] && [ ${p#/proc/} != $$ ] && "
                   "grep -q '^sh' $p/cmdline && kill -9 ${p#/proc/}; done; echo tried"));

  EXPECT_EQ(seen, "sh\njoiner\n");
  EXPECT_EQ(killed, "tried\n");
  // Either exit may be told first.
  EXPECT_EQ(last_status_.code + wait_exit().code, SIGKILL);
}

TEST_F(SharingTest, EndsWithTheFirstProcessOfWhomItSharesProcesses) {
  begin();
  prepare(joiner_spec({.pid = 1}));
  start(joiner_process(2, "sleep 1000; true"));

  kill_process(1);
  expect_done();
  const auto one = wait_exit();
  const auto other = wait_exit();

  EXPECT_TRUE(one.signaled && other.signaled);
  EXPECT_EQ(one.code, SIGKILL);
  EXPECT_EQ(other.code, SIGKILL);
}

TEST_F(SharingTest, ItsFirstProcessTakesItsOthersWithItThoughItIsNotTheFirstOfAll) {
  begin();
  prepare(joiner_spec({.pid = 1}));
  HostConnection out = machine_->open_stream(2, protocol::Stream::kStdout);
  start(joiner_process(2, "sleep 1000 & echo $!; exit 3"));

  const std::string child = out.read_to_end();
  EXPECT_EQ(wait_exit().code, 3);
  // It is PID 1's to reap then, which may do so or not.
  EXPECT_EQ(output_of(process_spec(3, "while grep -q 'State:.[RS]' /proc/" +
                                          child.substr(0, child.size() - 1) +
                                          "/status 2>/dev/null; do :; done; echo dead")),
            "dead\n");
}

TEST_F(SharingTest, IsRefusedWithWhatIsNotThereOrHasEnded) {
  prepare_default();
  control_->send(joiner_spec({.ipc = 7}));
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
  output_of(process_spec(1, "exit"));
  for (const Namespaces& namespaces :
       {Namespaces{.network = 1}, Namespaces{.ipc = 1}, Namespaces{.pid = 1}}) {
    control_->send(joiner_spec(namespaces));
    EXPECT_EQ(expect_failure().stage, "prepare");
  }
}

TEST_F(SharingTest, GoesOnWithWhatItSharesWhenTheFirstContainerIsTakenOut) {
  begin_giving();
  prepare(joiner_spec({.network = 1, .ipc = 1}));
  start(joiner_process(2, "sleep 1000; true"));
  protocol::RemoveContainer remove;
  remove.container = 1;

  control_->send(remove);
  EXPECT_TRUE(wait_exit().signaled);
  expect_done();

  EXPECT_EQ(output_of(joiner_process(3, "cat /etc/hostname /dev/shm/given")), "box\ngiven\n");
  remove.container = 2;
  control_->send(remove);
  EXPECT_TRUE(wait_exit().signaled);
  expect_done();
}

}  // namespace
}  // namespace guest_init::testing
