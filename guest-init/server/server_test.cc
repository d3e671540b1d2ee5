// guest-init as a whole: what the host asks, what the processes see, what comes back.
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cstddef>
#include <initializer_list>
#include <span>

#include "guest-init/protocol/files.h"
#include "guest-init/testing/server_fixture.h"

namespace guest_init::testing {
namespace {

/// A filter that answers `calls` with an error and lets all others through.
std::vector<std::byte> denying(std::initializer_list<long> calls, std::uint32_t error) {
  std::vector<sock_filter> code = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const long call : calls) {
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const auto bytes = std::as_bytes(std::span(code));
  return {bytes.begin(), bytes.end()};
}

const char* const kShowPrivileges =
    "grep -E 'CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp' /proc/self/status | cut -f2 | tr '\\n' ' '; "
    "mkdir /made 2>&1 | sed 's/.*: //'";

TEST_F(ServerTest, RunsACommandAndReportsItsOutputAndExitCode) {
  prepare_default();

  const std::string output = output_of(process_spec(1, "echo hello; exit 7"));

  EXPECT_EQ(output, "hello\n");
  EXPECT_FALSE(last_status_.signaled);
  EXPECT_EQ(last_status_.code, 7);
}

TEST_F(ServerTest, RefusesTenantsWorkBeforeTheMachineHasItsIdentity) {
  control_->send(container_spec());

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
}

TEST_F(ServerTest, JoinsAllLayersAndTheWritableDisk) {
  prepare_default();

  const std::string output = output_of(process_spec(
      1,
      "cat /etc/upper-layer; echo new > /etc/written; cat /etc/written; cat /etc/hosts "
      "/etc/hostname /etc/resolv.conf /etc/machine-id; hostname; ls -d /.dockerenv"));

  EXPECT_EQ(output, "two\nnew\n127.0.0.1 localhost\nbox\nnameserver 192.0.2.1\n" +
                        std::string(32, 'a') + "\nbox\n/.dockerenv\n");
}

TEST_F(ServerTest, ShowsTheContainerItsOwnProcessesOnly) {
  prepare_default();

  const std::string output = output_of(process_spec(1, "echo $$; ls -d /proc/[0-9]* | head -1"));

  EXPECT_EQ(output, "1\n/proc/1\n");
}

TEST_F(ServerTest, RunsFurtherProcessesInsideTheSameContainer) {
  prepare_default();
  start(process_spec(1, "echo mine > /tmp/shared; sleep 1000; true"));

  const std::string output =
      output_of(process_spec(2,
                             "while [ ! -s /tmp/shared ]; do :; done; cat /tmp/shared; "
                             "cat /proc/1/cmdline | head -c 2; hostname"));

  EXPECT_EQ(output, "mine\nshbox\n");
  EXPECT_EQ(last_status_.code, 0);
}

TEST_F(ServerTest, GivesTheUserItsGroupsAndHomeButNoCapabilities) {
  prepare_default();
  auto spec = process_spec(1,
                           "id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status; "
                           "grep CapBnd /proc/self/status");
  spec.user = "web";
  spec.additional_groups = {"late", "77"};

  const std::string output = output_of(spec);

  EXPECT_EQ(output,
            "33\n34\n34 50 60 77\n/srv\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n");
}

TEST_F(ServerTest, ReportsWhyACommandCannotRun) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  const auto failure_of = [this](std::uint32_t process, std::string command) {
    auto spec = process_spec(process, "");
    spec.argv = {std::move(command)};
    control_->send(spec);
    return expect_failure();
  };

  EXPECT_EQ(failure_of(2, "missing").message,
            "exec: \"missing\": executable file not found in $PATH");
  EXPECT_EQ(failure_of(3, "/missing").message,
            "exec: \"/missing\": stat /missing: no such file or directory");
  EXPECT_EQ(failure_of(4, "/etc/plain").message, "exec: \"/etc/plain\": permission denied");
  EXPECT_EQ(failure_of(5, "/etc").message, "exec: \"/etc\": is a directory");
  const auto nonsense = failure_of(6, "/bin/nonsense");
  EXPECT_EQ(nonsense.message, "exec /bin/nonsense: exec format error");
  EXPECT_EQ(nonsense.error_number, ENOEXEC);
  EXPECT_EQ(nonsense.kind, protocol::FailureKind::kNotExecutable);
}

TEST_F(ServerTest, ReportsTheSignalThatEndedAProcess) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  protocol::SignalProcess kill;
  kill.process = 1;
  kill.signal = SIGKILL;

  control_->send(kill);
  expect_done();
  const auto status = wait_exit();

  EXPECT_TRUE(status.signaled);
  EXPECT_EQ(status.code, SIGKILL);
}

TEST_F(ServerTest, CarriesStandardInputToItsEnd) {
  prepare_default();
  auto spec = process_spec(1, "cat");
  spec.open_stdin = true;
  HostConnection in = machine_->open_stream(1, protocol::Stream::kStdin);
  in.send_text("first ");
  in.send_text("second");
  in.half_close();

  EXPECT_EQ(output_of(spec), "first second");
}

TEST_F(ServerTest, HoldsTheProcessBackUntilTheHostAcknowledges) {
  constexpr std::size_t kTotal = 3 * protocol::kReplayBytes;
  prepare_default();
  auto spec = process_spec(1, "head -c " + std::to_string(kTotal) + " /dev/zero");
  start(spec);
  HostConnection out = machine_->open_stream(1, protocol::Stream::kStdout);

  for (std::size_t received = protocol::kReplayBytes; received <= kTotal;
       received += protocol::kReplayBytes) {
    ASSERT_EQ(out.read(protocol::kReplayBytes).size(), protocol::kReplayBytes);
    out.acknowledge(received);
  }

  EXPECT_EQ(wait_exit().code, 0);
}

TEST_F(ServerTest, RepeatsUnacknowledgedOutputOnANewConnection) {
  prepare_default();
  start(process_spec(1, "echo 0123456789; sleep 1000"));
  HostConnection first = machine_->open_stream(1, protocol::Stream::kStdout);
  ASSERT_EQ(first.read(11), "0123456789\n");
  first.acknowledge(4);
  first.reset();

  HostConnection second = machine_->open_stream(1, protocol::Stream::kStdout, 4);

  EXPECT_EQ(second.read(7), "456789\n");
}

TEST_F(ServerTest, TellsANewHostWhatRunsAndWhatHasExited) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  start(process_spec(2, "exit 3"));
  ASSERT_EQ(wait_exit().code, 3);
  control_->reset();

  HostConnection again = machine_->connect_control();
  again.send(protocol::Hello{.secret = kTestSecret});
  const auto reply = again.receive_as<protocol::HelloReply>();
  const auto exited = again.receive_as<protocol::ProcessExited>();

  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->identified);
  ASSERT_EQ(reply->processes.size(), 2u);
  EXPECT_FALSE(reply->processes[0].exit);
  ASSERT_TRUE(reply->processes[1].exit);
  EXPECT_EQ(reply->processes[1].exit->code, 3);
  ASSERT_TRUE(exited);
  EXPECT_EQ(exited->process, 2u);
}

TEST_F(ServerTest, LetsANewControlConnectionReplaceTheOldOnlyWithTheSecret) {
  prepare_default();
  protocol::Secret almost = kTestSecret;
  almost.back() ^= 1;

  for (const protocol::Secret& wrong : {protocol::Secret{}, almost}) {
    HostConnection stranger = machine_->connect_control();
    stranger.send(protocol::Hello{.secret = wrong});
    EXPECT_TRUE(stranger.wait_closed());
  }
  EXPECT_EQ(output_of(process_spec(1, "echo served")), "served\n");

  HostConnection again = machine_->connect_control();
  again.send(protocol::Hello{.secret = kTestSecret});
  EXPECT_TRUE(again.receive_as<protocol::HelloReply>());
  EXPECT_TRUE(again.receive_as<protocol::ProcessExited>());
  EXPECT_TRUE(control_->wait_closed());
}

TEST_F(ServerTest, ClosesAControlConnectionThatDoesNotBeginWithAWholeHello) {
  prepare_default();
  wire::Bytes older = wire::frame(protocol::Hello{.secret = kTestSecret});
  older.resize(older.size() - sizeof(protocol::Secret));
  older[0] = std::byte{4};  // the length: the version alone
  protocol::SignalProcess other;
  const wire::Bytes huge = {std::byte{0xff}, std::byte{0xff}, std::byte{}, std::byte{},
                            std::byte{1},    std::byte{},     std::byte{}, std::byte{}};

  for (const wire::Bytes& bytes : {older, wire::frame(other), huge}) {
    HostConnection connection = machine_->connect_control();
    connection.send_bytes(bytes);
    EXPECT_TRUE(connection.wait_closed());
  }
  EXPECT_EQ(output_of(process_spec(1, "echo served")), "served\n");
}

TEST_F(ServerTest, ClosesItsControlConnectionAfterAGreetingWithoutTheSecret) {
  prepare_default();

  control_->send(protocol::Hello{});

  EXPECT_TRUE(control_->wait_closed());
}

TEST_F(ServerTest, GivesAStreamOnlyToWhoKnowsTheSecret) {
  prepare_default();
  start(process_spec(1, "echo hello; sleep 1000"));
  protocol::StreamOpen open;
  open.process = 1;
  open.stream = protocol::Stream::kStdout;

  HostConnection stranger = machine_->connect_stream();
  stranger.send(open);

  EXPECT_TRUE(stranger.wait_closed());
  EXPECT_EQ(machine_->open_stream(1, protocol::Stream::kStdout).read(6), "hello\n");
}

TEST_F(ServerTest, KeepsOfTheStreamsThatCameBeforeTheSecretThoseThatKnowIt) {
  protocol::StreamOpen open;
  open.process = 1;
  open.stream = protocol::Stream::kStdout;
  HostConnection stranger = machine_->connect_stream();
  stranger.send(open);
  HostConnection own = machine_->open_stream(1, protocol::Stream::kStdout);

  prepare_default();
  start(process_spec(1, "echo hello"));

  EXPECT_TRUE(stranger.wait_closed());
  EXPECT_EQ(own.read_to_end(), "hello\n");
}

TEST_F(ServerTest, HasNoEarForStrangersEvenWithTheSecret) {
  if (machine_->is_real()) GTEST_SKIP() << "only the host reaches it";
  prepare_default();
  start(process_spec(1, "echo hello; sleep 1000"));
  protocol::StreamOpen open;
  open.process = 1;
  open.stream = protocol::Stream::kStdout;
  open.secret = kTestSecret;

  for (int attempt = 0; attempt < 50; ++attempt) {
    HostConnection control = machine_->connect_as_stranger(TestMachine::Port::kControl);
    control.send(protocol::Hello{.secret = kTestSecret});
    EXPECT_TRUE(control.wait_closed());
    HostConnection stream = machine_->connect_as_stranger(TestMachine::Port::kStreams);
    stream.send(open);
    EXPECT_TRUE(stream.wait_closed());
    HostConnection socket = machine_->connect_as_stranger(TestMachine::Port::kSockets);
    socket.send(protocol::SocketOpen{.connection = 1, .secret = kTestSecret});
    EXPECT_TRUE(socket.wait_closed());
  }

  EXPECT_EQ(machine_->open_stream(1, protocol::Stream::kStdout).read(6), "hello\n");
}

TEST_F(ServerTest, RefusesAnIdentityWithoutASecret) {
  protocol::SetIdentity identity;
  identity.machine_id = std::string(32, 'a');

  control_->send(identity);

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
}

TEST_F(ServerTest, GivesATerminalWithItsSize) {
  prepare_default();
  auto spec = process_spec(1, "stty size; ls -l /dev/console | head -c 1; test -t 0 && echo tty");
  spec.tty = true;
  spec.open_stdin = true;
  spec.rows = 33;
  spec.columns = 101;

  EXPECT_EQ(output_of(spec), "33 101\r\nctty\r\n");
}

TEST_F(ServerTest, ResizesTheTerminal) {
  prepare_default();
  auto spec = process_spec(1, "read line; stty size");
  spec.tty = true;
  spec.open_stdin = true;
  HostConnection in = machine_->open_stream(1, protocol::Stream::kStdin);
  HostConnection out = machine_->open_stream(1, protocol::Stream::kStdout);
  start(spec);
  protocol::ResizeTerminal resize;
  resize.process = 1;
  resize.rows = 10;
  resize.columns = 20;

  control_->send(resize);
  expect_done();
  in.send_text("\n");

  EXPECT_EQ(out.read_to_end(), "\r\n10 20\r\n");
}

TEST_F(ServerTest, MasksAndProtectsWhatDockerDoes) {
  prepare_default();

  const std::string output = output_of(process_spec(
      1,
      "head -c 1 /proc/timer_list | wc -c; echo x 2>/dev/null > /proc/sys/kernel/domainname "
      "|| echo protected; touch /sys/x 2>/dev/null || echo read-only"));

  EXPECT_NE(output.find("protected\nread-only\n"), std::string::npos) << output;
}

TEST_F(ServerTest, MountsTmpfsWithDockersOptions) {
  identify();
  auto spec = container_spec();
  spec.tmpfs = {{"/run/scratch", "size=64k,mode=700"}};
  spec.shm_bytes = 1u << 20;
  prepare(spec);

  const std::string output = output_of(
      process_spec(1, "grep -E ' /(run/scratch|dev/shm) ' /proc/mounts; stat -c %a /run/scratch"));

  EXPECT_NE(output.find("tmpfs /run/scratch tmpfs rw,nosuid,nodev,noexec,relatime,size=64k"),
            std::string::npos)
      << output;
  EXPECT_NE(output.find("shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k"),
            std::string::npos)
      << output;
  EXPECT_NE(output.find("\n700\n"), std::string::npos) << output;
}

TEST_F(ServerTest, KeepsAReadOnlyRootReadOnly) {
  identify();
  auto spec = container_spec();
  spec.read_only_root = true;
  prepare(spec);

  EXPECT_EQ(output_of(process_spec(1,
                                   "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && "
                                   "echo shm")),
            "refused\nshm\n");
}

TEST_F(ServerTest, RunsTheCommandUnderAnInitThatReaps) {
  if (!machine_->has_init_program()) GTEST_SKIP() << "this build has no static guest-init";
  prepare_default();
  auto spec = process_spec(1, "cat /proc/1/cmdline | head -c 17; echo; echo $$; exit 5");
  spec.use_init = true;

  const std::string output = output_of(spec);

  EXPECT_EQ(output, "/sbin/docker-init\n2\n");
  EXPECT_EQ(last_status_.code, 5);
}

TEST_F(ServerTest, InstallsAFilterWithoutLeavingAnythingElseBehind) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  auto spec = process_spec(2, kShowPrivileges);
  spec.seccomp_filter = denying({SYS_mkdir}, EMFILE);
  const std::string refused = "Too many open files\n";
  const std::string all = "00000000a80425fb ";
  const std::string none = "0000000000000000 ";

  EXPECT_EQ(output_of(spec), all + all + all + "0 2 1 " + refused);
  spec.process = 3;
  spec.no_new_privileges = true;
  EXPECT_EQ(output_of(spec), all + all + all + "1 2 1 " + refused);
  spec.process = 4;
  spec.user = "33";
  EXPECT_EQ(output_of(spec), none + none + all + "1 2 1 " + refused);
  spec.process = 5;
  spec.no_new_privileges = false;
  EXPECT_EQ(output_of(spec), none + none + all + "0 2 1 " + refused);
  spec.process = 6;
  spec.seccomp_filter.clear();
  EXPECT_EQ(output_of(spec), none + none + all + "0 0 0 Permission denied\n");
}

TEST_F(ServerTest, NeedsNothingOfAFilterButExecve) {
  if (!machine_->has_init_program()) GTEST_SKIP() << "this build has no static guest-init";
  prepare_default();
  auto spec = process_spec(1, "echo runs; exit 3");
  spec.seccomp_filter =
      denying({SYS_capset, SYS_prctl, SYS_setgroups, SYS_setresuid, SYS_setresgid, SYS_chdir,
               SYS_close_range, SYS_umask, SYS_execveat, SYS_seccomp, SYS_unshare, SYS_fchown},
              EPERM);
  spec.use_init = true;

  EXPECT_EQ(output_of(spec), "runs\n");

  EXPECT_EQ(last_status_.code, 3);
}

TEST_F(ServerTest, ReportsAFilterThatForbidsTheProgram) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  auto spec = process_spec(2, "true");
  spec.seccomp_filter = denying({SYS_execve}, EPERM);

  control_->send(spec);
  const auto failure = expect_failure();

  EXPECT_EQ(failure.kind, protocol::FailureKind::kNotExecutable);
  EXPECT_EQ(failure.message, "exec /bin/sh: operation not permitted");
}

TEST_F(ServerTest, RefusesAFilterThatIsNone) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  auto spec = process_spec(2, "true");
  const auto refused = [&](std::vector<std::byte> filter, std::uint32_t flags) {
    spec.seccomp_filter = std::move(filter);
    spec.seccomp_flags = flags;
    ++spec.process;
    control_->send(spec);
    return expect_failure().stage;
  };

  EXPECT_EQ(refused(std::vector<std::byte>(9), 0), "seccomp");
  EXPECT_EQ(refused(std::vector<std::byte>(protocol::kMaxSeccompFilter + 8), 0), "seccomp");
  EXPECT_EQ(refused(std::vector<std::byte>(8, std::byte{0xff}), 0), "seccomp");
  EXPECT_EQ(refused(denying({SYS_mkdir}, EPERM), SECCOMP_FILTER_FLAG_NEW_LISTENER), "seccomp");
}

TEST_F(ServerTest, TheFilesToolTellsWhatAContainerHasChanged) {
  if (!machine_->has_init_program()) GTEST_SKIP() << "this build has no static guest-init";
  prepare_default();
  start(process_spec(1, "echo x > /etc/new; echo done > /tmp/done; sleep 1000"));
  output_of(process_spec(2, "while [ ! -s /tmp/done ]; do :; done"));
  auto tool = process_spec(3, "");
  tool.argv = {"changes"};
  tool.files_tool = true;
  tool.capabilities = kDockerCapabilities | std::uint64_t{1} << CAP_SYS_ADMIN;

  const std::string output = output_of(tool);

  wire::FrameReader reader;
  reader.feed(std::as_bytes(std::span(output)));
  std::string changes;
  for (auto frame = reader.next(); frame && frame->has_value(); frame = reader.next()) {
    if ((*frame)->type != static_cast<std::uint16_t>(protocol::files::FrameType::kChange)) continue;
    const auto change = wire::decode<protocol::files::Change>((*frame)->payload);
    changes += "CAD"[static_cast<int>(change->kind)] + (" " + change->path) + "\n";
  }
  EXPECT_NE(changes.find("C etc\nA etc/new\n"), std::string::npos) << changes;
  EXPECT_EQ(changes.find("hostname"), std::string::npos) << changes;
  EXPECT_EQ(changes.find("proc"), std::string::npos) << changes;
}

TEST_F(ServerTest, ForgetsProcessesOnlyAfterTheirEnd) {
  prepare_default();
  start(process_spec(1, "sleep 1000"));
  start(process_spec(2, "true"));
  wait_exit();
  protocol::ForgetProcess running;
  running.process = 1;
  protocol::ForgetProcess ended;
  ended.process = 2;

  control_->send(running);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
  control_->send(ended);
  expect_done();
  control_->send(ended);

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kNoSuchProcess);
}

TEST_F(ServerTest, SurvivesNonsenseOnTheControlStream) {
  control_->send_bytes({std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{200},
                        std::byte{0}, std::byte{9}});

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
}

TEST_F(ServerTest, EndsEverythingWhenTheFirstProcessEnds) {
  prepare_default();
  auto first = process_spec(1, "read line");
  first.open_stdin = true;
  HostConnection in = machine_->open_stream(1, protocol::Stream::kStdin);
  start(first);
  start(process_spec(2, "sleep 1000"));

  in.half_close();
  const auto one = control_->receive_as<protocol::ProcessExited>();
  const auto other = control_->receive_as<protocol::ProcessExited>();

  ASSERT_TRUE(one && other);
  const auto& killed = one->process == 2 ? *one : *other;
  EXPECT_TRUE(killed.status.signaled);
  EXPECT_EQ(killed.status.code, SIGKILL);
}

TEST_F(ServerTest, AFrozenContainerDoesNothingUntilItIsThawed) {
  prepare_default();
  start(process_spec(1, "sleep 1000; true"));
  protocol::FreezeContainer freeze;
  freeze.container = 1;
  freeze.frozen = true;
  protocol::SignalProcess terminate;
  terminate.process = 1;
  terminate.signal = SIGHUP;

  control_->send(freeze);
  expect_done();
  control_->send(terminate);
  expect_done();
  protocol::ListProcesses list;
  list.container = 1;
  control_->send(list);
  const auto frozen = control_->receive_as<protocol::ProcessList>();
  freeze.frozen = false;
  control_->send(freeze);
  expect_done();
  terminate.signal = SIGKILL;
  control_->send(terminate);
  expect_done();

  ASSERT_TRUE(frozen) << frozen.error().message;
  ASSERT_FALSE(frozen->processes.empty());
  EXPECT_EQ(frozen->processes[0].command_line.substr(0, 3), std::string("sh\0", 3));
  EXPECT_TRUE(wait_exit().signaled);
}

TEST_F(ServerTest, TellsWhatAContainerUses) {
  prepare_default();
  start(process_spec(1, "sleep 1000; true"));
  protocol::ReadStatistics read;
  read.container = 1;

  control_->send(read);
  const auto statistics = control_->receive_as<protocol::Statistics>();

  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_NE(statistics->cpu_stat.find("usage_usec"), std::string::npos);
  EXPECT_NE(statistics->network_devices.find("lo:"), std::string::npos);
  EXPECT_NE(statistics->memory_info.find("MemTotal:"), std::string::npos);
  EXPECT_GE(statistics->cpus, 1u);
}

TEST_F(ServerTest, RefusesQuestionsAboutAContainerThatIsNone) {
  prepare_default();
  protocol::FreezeContainer freeze;
  protocol::UpdateLimits update;
  protocol::ReadStatistics read;
  protocol::ListProcesses list;
  freeze.container = update.container = read.container = list.container = 9;

  control_->send(freeze);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
  control_->send(update);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
  control_->send(read);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
  control_->send(list);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
}

TEST_F(ServerTest, RemovesAContainerAndPreparesAnother) {
  prepare_default();
  HostConnection out = machine_->open_stream(1, protocol::Stream::kStdout);
  start(process_spec(1, "echo kept > /kept; echo written; sleep 1000"));
  ASSERT_EQ(out.read(8), "written\n");
  protocol::RemoveContainer remove;
  remove.container = 1;

  control_->send(remove);
  EXPECT_TRUE(wait_exit().signaled);
  expect_done();
  prepare(container_spec());

  EXPECT_EQ(output_of(process_spec(2, "cat /kept")), "kept\n");
}

TEST_F(ServerTest, ShowsSocketsOfTheHostAsTheyAreThere) {
  identify();
  auto spec = container_spec();
  spec.sockets = {{.number = 4, .mode = 0640, .user = 7, .group = 8}};
  protocol::PrepareContainer::Mount mount;
  mount.source = protocol::PrepareContainer::Source::kSocket;
  mount.number = 4;
  mount.path = "/run/service/socket";
  spec.mounts = {mount};
  prepare(spec);

  EXPECT_EQ(output_of(process_spec(1, "stat -c '%F %a %u %g' /run/service/socket")),
            "socket 640 7 8\n");
}

TEST_F(ServerTest, ClosesSocketConnectionsThatNobodyWaitsFor) {
  identify();
  for (const auto& secret : {kTestSecret, protocol::Secret{9}}) {
    HostConnection connection = machine_->connect_socket();
    connection.send(protocol::SocketOpen{.connection = 1, .secret = secret});
    EXPECT_TRUE(connection.wait_closed());
  }
}

TEST_F(ServerTest, RefusesAMountOfASocketThatIsNotThere) {
  identify();
  auto spec = container_spec();
  protocol::PrepareContainer::Mount mount;
  mount.source = protocol::PrepareContainer::Source::kSocket;
  mount.path = "/socket";
  spec.mounts = {mount};
  control_->send(spec);

  EXPECT_THAT(expect_failure().message, ::testing::HasSubstr("the host's socket for /socket"));
}

TEST_F(ServerTest, ShutsDownWithACleanDisk) {
  prepare_default();
  start(process_spec(1, "while echo data >> /file; do :; done"));

  control_->send(protocol::Shutdown{});
  EXPECT_TRUE(wait_exit().signaled);
  expect_done();
  control_->reset();

  EXPECT_TRUE(machine_->wait_for_power_off());
  EXPECT_TRUE(machine_->disks().is_clean());
}

}  // namespace
}  // namespace guest_init::testing
