#include "api/machines/clone_machine.h"

#include <boost/asio/post.hpp>

#include "api/machines/testing/machine_fixture.h"

namespace engine::testing {
namespace {

using base::Code;

class CloneMachineTest : public MachineFixture {
 protected:
  using Clone = std::shared_ptr<CloneMachine>;

  ~CloneMachineTest() override {
    if (clone_) {
      clone_->kill();
      run(clone_->wait_stopped());
    }
  }

  std::shared_ptr<const Template> fake_template() {
    auto made = std::make_shared<Template>();
    made->streams = {1, 2, 3, 4};
    made->memory = base::UniqueFd(::open(file("memory", "template").c_str(), O_RDONLY | O_CLOEXEC));
    made->state = base::UniqueFd(::open(file("state", "").c_str(), O_RDONLY | O_CLOEXEC));
    return made;
  }

  CloneMachine::Context context() {
    CloneMachine::Context context{executor(), *pool_, *launcher_};
    context.start_timeout = start_timeout_;
    context.signal_timeout = signal_timeout_;
    context.answer_timeout = answer_timeout_;
    return context;
  }

  void restore() {
    auto restored = run(CloneMachine::restore(context(), "pool-0", fake_template()));
    ASSERT_TRUE(restored) << restored.error().message;
    clone_ = *restored;
  }

  base::Result<ProcessStart> start(std::vector<std::string> argv, bool held = false) {
    restore();
    sink_ = std::make_shared<CollectingSink>(executor(), held);
    MachineSpec wanted = spec(std::move(argv), sink_);
    wanted.process.open_stdin = true;
    return run(clone_->begin(std::move(wanted)));
  }

  base::Result<protocol::ExitStatus> exit_of(ProcessId process) {
    return run(clone_->wait_exit(process));
  }

  /// As a daemon that was killed: everything of it is gone but its monitors.
  void forget_everything() {
    clone_.reset();
    pool_.reset();
    io_ = std::make_unique<net::io_context>();
    pool_ = std::make_unique<async::BlockingPool>(1);
    launcher_ =
        std::make_unique<MonitorLauncher>(privileged_, executor(), *pool_, launcher_config());
  }

  base::Result<Clone> adopt(AdoptSpec spec, std::vector<EndpointLease> endpoints = {}) {
    auto process = launcher_->reopen(spec.id);
    if (!process) return process.error();
    return run(
        CloneMachine::adopt(context(), std::move(*process), std::move(spec), std::move(endpoints)));
  }

  std::chrono::milliseconds start_timeout_{60'000};
  std::chrono::milliseconds signal_timeout_{60'000};
  std::chrono::milliseconds answer_timeout_{60'000};
  std::unique_ptr<async::BlockingPool> pool_ = std::make_unique<async::BlockingPool>(1);
  std::unique_ptr<MonitorLauncher> launcher_ =
      std::make_unique<MonitorLauncher>(privileged_, executor(), *pool_, launcher_config());
  TestNetworks networks_;
  Clone clone_;
  std::shared_ptr<CollectingSink> sink_;
};

TEST_F(CloneMachineTest, StartsAProcessAndTellsItsExitAfterItsOutput) {
  const auto started = start({"echo", "hello"});
  ASSERT_TRUE(started) << started.error().message;
  const auto status = exit_of(1);

  EXPECT_EQ(started->pid, 42);
  EXPECT_FALSE(started->refusal);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->code, 0);
  EXPECT_EQ(sink_->out(), "hello");
}

TEST_F(CloneMachineTest, TellsTheGuestWhereItsVolumesAre) {
  const auto volume = [this](const std::string& name) {
    return file(name, name + std::string(4096 - name.size(), '\0'));
  };
  restore();
  sink_ = std::make_shared<CollectingSink>(executor());
  auto with_volumes = spec({"volumes"}, sink_);
  with_volumes.volumes = {volume("volume-1"), volume("volume-2")};

  const auto started = run(clone_->begin(std::move(with_volumes)));

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "volume-1volume-2");
}

TEST_F(CloneMachineTest, PutsEachEndpointOnACardOfItsOwn) {
  restore();
  sink_ = std::make_shared<CollectingSink>(executor());
  auto with_endpoints = spec({"network"}, sink_);
  with_endpoints.endpoints.push_back(networks_.lend_next());
  with_endpoints.endpoints.push_back(networks_.lend_next());

  const auto started = run(clone_->begin(std::move(with_endpoints)));

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "tap 0\ntap 1\neth0 172.17.0.2\neth1 172.17.0.3\n");
}

TEST_F(CloneMachineTest, HoldsItsEndpointsUntilItHasEnded) {
  restore();
  auto with_endpoint = spec({"sleep"});
  with_endpoint.endpoints.push_back(networks_.lend_next());
  ASSERT_TRUE(run(clone_->begin(std::move(with_endpoint))));
  EXPECT_EQ(networks_.lent.size(), 1u);

  clone_->kill();
  run(clone_->wait_stopped());

  EXPECT_TRUE(networks_.lent.empty());
}

TEST_F(CloneMachineTest, KeepsStandardErrorApart) {
  ASSERT_TRUE(start({"complain", "oops"}));
  ASSERT_TRUE(exit_of(1));

  EXPECT_EQ(sink_->err(), "oops");
  EXPECT_EQ(sink_->out(), "");
}

TEST_F(CloneMachineTest, TellsTheExitToEveryoneWhoAsksAlsoAfterwards) {
  ASSERT_TRUE(start({"exit", "7"}));

  EXPECT_EQ(exit_of(1)->code, 7);
  EXPECT_EQ(exit_of(1)->code, 7);
  EXPECT_EQ(exit_of(99).error().code, Code::kNotFound);
}

TEST_F(CloneMachineTest, ReportsARefusalAndEndsTheMachine) {
  const auto started = start({"missing"});
  const MachineEnd end = run(clone_->wait_stopped());

  ASSERT_TRUE(started);
  ASSERT_TRUE(started->refusal);
  EXPECT_EQ(started->refusal->kind, protocol::FailureKind::kExecutableNotFound);
  EXPECT_EQ(end.reason, EndReason::kRequested);
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

TEST_F(CloneMachineTest, ReportsAMonitorThatDiesDuringTheStart) {
  const auto started = start({"die"});
  const MachineEnd end = run(clone_->wait_stopped());

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kUnavailable);
  EXPECT_EQ(end.reason, EndReason::kMonitorDied);
  EXPECT_NE(end.message.find("exited with status 9"), std::string::npos) << end.message;
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

TEST_F(CloneMachineTest, TellsWhatAMonitorThatDiesSaidLast) {
  ASSERT_FALSE(start({"die", "out of\x1b[2J luck"}));

  const MachineEnd end = run(clone_->wait_stopped());

  EXPECT_TRUE(end.message.ends_with("its last words: out of\\x1b[2J luck")) << end.message;
}

TEST_F(CloneMachineTest, ReportsAPanicWithTheConsole) {
  const auto started = start({"panic"});
  const MachineEnd end = run(clone_->wait_stopped());

  EXPECT_FALSE(started);
  EXPECT_EQ(end.reason, EndReason::kGuestPanic);
  EXPECT_EQ(end.console_tail, "Kernel panic - not syncing");
}

TEST_F(CloneMachineTest, EndsAMachineWhoseGuestSendsGarbage) {
  const auto started = start({"garbage"});

  EXPECT_FALSE(started);
  EXPECT_EQ(run(clone_->wait_stopped()).reason, EndReason::kProtocolViolation);
}

TEST_F(CloneMachineTest, EndsAMachineWhoseGuestAnswersWhatWasNotAsked) {
  const auto started = start({"unasked"});

  EXPECT_FALSE(started);
  EXPECT_EQ(run(clone_->wait_stopped()).reason, EndReason::kProtocolViolation);
}

TEST_F(CloneMachineTest, GivesUpOnAGuestThatDoesNotAnswer) {
  start_timeout_ = std::chrono::milliseconds(50);

  EXPECT_FALSE(start({"silence"}));
  EXPECT_TRUE(fs::is_empty(run_directory()) || clone_);
  run(clone_->wait_stopped());
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

TEST_F(CloneMachineTest, ASignalThatIsNotAnsweredIsAnError) {
  signal_timeout_ = std::chrono::milliseconds(50);
  ASSERT_TRUE(start({"deaf"}));

  const auto sent = run(clone_->signal(1, SIGKILL));

  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Code::kDeadlineExceeded);
  clone_->kill();
  EXPECT_EQ(exit_of(1).error().code, Code::kUnavailable);
}

TEST_F(CloneMachineTest, ASlowSinkHoldsTheProcessBack) {
  ASSERT_TRUE(start({"flood", "2000000"}, /*held=*/true));
  run_until([&] { return sink_->offered > 0; });
  EXPECT_LE(sink_->offered, 64u << 10);

  sink_->open_gate();
  const auto status = exit_of(1);

  ASSERT_TRUE(status);
  EXPECT_EQ(sink_->out().size(), 2000000u);
}

TEST_F(CloneMachineTest, TheEndOfAMachineIsKnownThoughItsSinkStandsStill) {
  ASSERT_TRUE(start({"flood", "2000000"}, /*held=*/true));
  run_until([&] { return sink_->offered > 0; });

  clone_->kill();

  EXPECT_EQ(exit_of(1).error().code, Code::kUnavailable);
}

TEST_F(CloneMachineTest, AStartThatIsAbandonedEndsAtOnce) {
  restore();
  sink_ = std::make_shared<CollectingSink>(executor());
  std::stop_source nobody_waits;
  MachineSpec wanted = spec({"silence"}, sink_);
  wanted.abandoned = nobody_waits.get_token();
  net::post(executor(), [&] { nobody_waits.request_stop(); });

  const auto started = run(clone_->begin(std::move(wanted)));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "its start was abandoned");
}

TEST_F(CloneMachineTest, HandsStandardInputOnAndEndsIt) {
  ASSERT_TRUE(start({"cat"}));
  const std::string text = "to be read";
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  const auto written =
      run(clone_->write_stdin(1, std::vector<std::byte>(first, first + text.size())));
  clone_->close_stdin(1);
  const auto status = exit_of(1);

  EXPECT_TRUE(written);
  ASSERT_TRUE(status);
  EXPECT_EQ(sink_->out(), text);
  EXPECT_EQ(run(clone_->write_stdin(1, std::vector<std::byte>(1))).error().code, Code::kConflict);
}

TEST_F(CloneMachineTest, SignalsAProcessOnlyWhileItRuns) {
  ASSERT_TRUE(start({"sleep"}));
  const auto signalled = run(clone_->signal(1, 15));
  const auto status = exit_of(1);
  const auto again = run(clone_->signal(1, 15));

  EXPECT_TRUE(signalled);
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->signaled);
  EXPECT_EQ(status->code, 15);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kNotFound);
}

TEST_F(CloneMachineTest, RunsFurtherProcessesBesideTheFirst) {
  ASSERT_TRUE(start({"sleep"}));
  auto sink = std::make_shared<CollectingSink>(executor());
  protocol::StartProcess second;
  second.process = 2;
  second.argv = {"echo", "second"};
  const auto started = run(clone_->start_process(second, sink));
  const auto status = exit_of(2);
  clone_->forget_process(2);

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(status);
  EXPECT_EQ(sink->out(), "second");
  EXPECT_EQ(exit_of(2).error().code, Code::kNotFound);
}

TEST_F(CloneMachineTest, ARefusedFurtherProcessLeavesTheMachineAlone) {
  ASSERT_TRUE(start({"sleep"}));
  protocol::StartProcess second;
  second.process = 2;
  second.argv = {"missing"};
  const auto refused = run(clone_->start_process(second, nullptr));
  second.argv = {"exit", "3"};
  const auto started = run(clone_->start_process(second, nullptr));

  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->refusal);
  ASSERT_TRUE(started);
  EXPECT_EQ(exit_of(2)->code, 3);
}

TEST_F(CloneMachineTest, AFurtherProcessThatIsNotAnsweredIsAnError) {
  answer_timeout_ = std::chrono::milliseconds(50);
  ASSERT_TRUE(start({"sleep"}));
  protocol::StartProcess second;
  second.process = 2;
  second.argv = {"silence"};

  const auto started = run(clone_->start_process(second, nullptr));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kDeadlineExceeded);
  clone_->kill();
  run(clone_->wait_stopped());
}

TEST_F(CloneMachineTest, WaitersLearnThatTheMachineWasKilled) {
  ASSERT_TRUE(start({"sleep"}));
  clone_->kill();
  const auto status = exit_of(1);
  const MachineEnd end = run(clone_->wait_stopped());

  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable);
  EXPECT_EQ(end.reason, EndReason::kRequested);
  EXPECT_EQ(run(clone_->signal(1, 9)).error().code, Code::kUnavailable);
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

TEST_F(CloneMachineTest, ShutsDownInOrder) {
  ASSERT_TRUE(start({"sleep"}));
  run(clone_->shutdown(std::chrono::seconds(60)));

  EXPECT_EQ(run(clone_->wait_stopped()).reason, EndReason::kGuestShutdown);
}

TEST_F(CloneMachineTest, ARestartedDaemonGoesOnWithAllOutput) {
  ASSERT_TRUE(start({"flood", "300000"}, /*held=*/true));
  run_until([&] { return sink_->offered > 0; });
  const pid_t monitor = clone_->monitor_pid();
  forget_everything();

  auto sink = std::make_shared<CollectingSink>(executor());
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.processes[1].sink = sink;
  const auto adopted = adopt(wanted);
  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;
  const auto status = exit_of(1);

  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(clone_->monitor_pid(), monitor);
  EXPECT_EQ(sink->out().size(), 300000u);
  clone_->kill();
  run(clone_->wait_stopped());
  clone_.reset();
  ::waitpid(monitor, nullptr, 0);
}

TEST_F(CloneMachineTest, AMachineThatWasTakenOverHoldsItsEndpointsToo) {
  ASSERT_TRUE(start({"sleep"}));
  const pid_t monitor = clone_->monitor_pid();
  forget_everything();
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  std::vector<EndpointLease> endpoints;
  endpoints.push_back(networks_.lend_next());
  const auto adopted = adopt(wanted, std::move(endpoints));
  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;
  EXPECT_EQ(networks_.lent.size(), 1u);

  clone_->kill();
  run(clone_->wait_stopped());

  EXPECT_TRUE(networks_.lent.empty());
  clone_.reset();
  ::waitpid(monitor, nullptr, 0);
}

TEST_F(CloneMachineTest, ARestartedDaemonHearsOfWhatEndedMeanwhile) {
  ASSERT_TRUE(start({"sleep"}));
  const auto begin = [&](ProcessId number, std::vector<std::string> argv) {
    protocol::StartProcess process;
    process.container = kMainContainer;
    process.process = number;
    process.argv = std::move(argv);
    return run(clone_->start_process(process, nullptr)).has_value();
  };
  ASSERT_TRUE(begin(2, {"exit", "7"}));  // nobody will ask for it
  ASSERT_TRUE(begin(3, {"sleep"}));
  ASSERT_TRUE(begin(4, {"exit", "9"}));
  ASSERT_TRUE(begin(100, {"sleep"}));
  const pid_t monitor = clone_->monitor_pid();
  forget_everything();

  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.processes[1].sink = std::make_shared<CollectingSink>(executor());
  wanted.processes[4].sink = wanted.processes[1].sink;
  wanted.kill_unknown_from = 100;
  const auto adopted = adopt(wanted);
  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;

  const auto status = exit_of(4);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->code, 9);
  for (const ProcessId ended : {2u, 100u})
    run_until([&] {
      const auto exit = exit_of(ended);
      return !exit && exit.error().code == Code::kNotFound;
    });
  EXPECT_TRUE(run(clone_->signal(3, 9)));  // it went on
  EXPECT_TRUE(run(clone_->signal(1, 9)));
  clone_->kill();
  run(clone_->wait_stopped());
  clone_.reset();
  ::waitpid(monitor, nullptr, 0);
}

TEST_F(CloneMachineTest, ADaemonThatDoesNotKnowTheSecretCannotGoOn) {
  ASSERT_TRUE(start({"sleep"}));
  const pid_t monitor = clone_->monitor_pid();
  forget_everything();
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.secret.back() = 1;
  std::vector<EndpointLease> endpoints;
  endpoints.push_back(networks_.lend_next());

  const auto adopted = adopt(wanted, std::move(endpoints));

  ASSERT_FALSE(adopted);
  EXPECT_TRUE(networks_.lent.empty());
  EXPECT_EQ(adopted.error().code, Code::kUnavailable) << adopted.error().message;
  ::waitpid(monitor, nullptr, 0);
}

TEST_F(CloneMachineTest, ARestartedDaemonLearnsHowAMachineEnded) {
  ASSERT_TRUE(start({"sleep"}));
  const pid_t monitor = clone_->monitor_pid();
  forget_everything();
  ::kill(monitor, SIGKILL);
  ::waitpid(monitor, nullptr, 0);

  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  const auto adopted = adopt(wanted);
  launcher_->remove_left_over("c0ffee");

  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code, Code::kUnavailable);
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

TEST_F(CloneMachineTest, AProgramThatCannotBeExecutedLeavesNothing) {
  MonitorLauncher::Config config = launcher_config();
  config.program = directory_.path() / "no-such-program";
  launcher_ = std::make_unique<MonitorLauncher>(privileged_, executor(), *pool_, config);
  const auto restored = run(CloneMachine::restore(context(), "pool-0", fake_template()));

  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().code, Code::kNotFound);
  EXPECT_TRUE(fs::is_empty(run_directory()));
}

}  // namespace
}  // namespace engine::testing
