#include "api/machines/clone_machine.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <optional>

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
    CloneMachine::Context context{executor(), *launcher_};
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
    ContainerSpec wanted = container_spec(std::move(argv), sink_);
    wanted.process.open_stdin = true;
    return begin(std::move(wanted));
  }

  base::Result<ProcessStart> begin(ContainerSpec wanted, MachineSpec machine = machine_spec()) {
    if (auto done = run(clone_->become(std::move(machine), [this] { ++begun_; })); !done)
      return std::move(done).error();
    return run(clone_->add_container(std::move(wanted)));
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
  int begun_ = 0;  // how often it was said that the first container is in, or will not be
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
  ContainerSpec with_volumes = container_spec({"volumes"}, sink_);
  with_volumes.volumes = {volume("volume-1"), volume("volume-2")};

  const auto started = begin(std::move(with_volumes));

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "volume-1volume-2");
}

TEST_F(CloneMachineTest, ShowsTheGuestFilesOfTheHost) {
#ifdef FILE_SERVER_SANITIZED
  GTEST_SKIP() << "a sanitized file server does not fit into its sandbox";
#endif
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  using Source = protocol::PrepareContainer::Source;
  restore();
  sink_ = std::make_shared<CollectingSink>(executor());
  ContainerSpec sharing = container_spec({"shares"}, sink_);
  const fs::path made = directory_.path() / "made";
  sharing.shares.push_back({.tree = {.path = directory_.path()}});
  sharing.shares.push_back({.tree = {.path = made, .create = true}});
  sharing.settings.mounts.resize(2);
  sharing.settings.mounts[0].source = Source::kHost;
  sharing.settings.mounts[0].number = 1;
  sharing.settings.mounts[0].path = "/one";
  sharing.settings.mounts[1].source = Source::kDirectory;
  sharing.settings.mounts[1].path = "/two";

  const auto started = begin(std::move(sharing));

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "/one yes\n/two yes\n");
  EXPECT_TRUE(fs::is_directory(made));
  clone_->kill();
  run(clone_->wait_stopped());
}

TEST_F(CloneMachineTest, DoesNotStartWithoutTheFilesOfTheHostThatItNeeds) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  restore();
  ContainerSpec sharing = container_spec({"shares"});
  sharing.shares.push_back({.tree = {.path = directory_.path() / "missing"}});

  const auto started = begin(std::move(sharing));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, base::Code::kNotFound);
  run(clone_->wait_stopped());
  EXPECT_TRUE(acts_.slots.empty());
}

/// A socket of the host that answers each connection, once it has half-closed, with what it said.
class CloneMachineSocketsTest : public CloneMachineTest {
 protected:
  void SetUp() override {
    const std::string path = directory_.path() / "socket";
    ::unlink(path.c_str());
    acceptor_ = std::make_unique<Acceptor>(*io_, Acceptor::endpoint_type(path));
    net::co_spawn(*io_, serve(acceptor_.get()), net::detached);
  }

  using Acceptor = net::local::stream_protocol::acceptor;

  static net::awaitable<void> serve(Acceptor* acceptor) {
    for (;;) {
      auto [error, connection] = co_await acceptor->async_accept(async::kTuple);
      if (error) co_return;
      std::string heard(64, '\0');
      std::size_t all = 0;
      for (;;) {
        const auto [ended, size] = co_await connection.async_read_some(
            net::buffer(heard.data() + all, heard.size() - all), async::kTuple);
        all += size;
        if (ended) break;
      }
      heard.resize(all);
      co_await net::async_write(connection, net::buffer("said " + heard), async::kTuple);
    }
  }

  /// A container whose socket 7 is the host's.
  base::Result<ProcessStart> start_connecting(const std::string& number) {
    restore();
    sink_ = std::make_shared<CollectingSink>(executor());
    ContainerSpec wanted = container_spec({"connect", number}, sink_);
    wanted.sockets = {{7, directory_.path() / "socket"}, {8, directory_.path() / "absent"}};
    return begin(std::move(wanted));
  }

  std::unique_ptr<Acceptor> acceptor_;
};

TEST_F(CloneMachineSocketsTest, ConnectsAProcessToTheHost) {
  const auto started = start_connecting("7");
  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "said hello");
}

TEST_F(CloneMachineSocketsTest, RefusesWhereNobodyListensAndWhatTheContainerHasNot) {
  for (const char* number : {"8", "9"}) {
    ASSERT_TRUE(start_connecting(number));
    ASSERT_TRUE(exit_of(1));
    EXPECT_EQ(sink_->out(), "refused") << number;
    clone_->kill();
    run(clone_->wait_stopped());
  }
}

TEST_F(CloneMachineSocketsTest, GoesOnUnderTheNextDaemon) {
  ASSERT_TRUE(start_connecting("7"));
  ASSERT_TRUE(exit_of(1));
  acceptor_.reset();
  forget_everything();
  SetUp();
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.sockets[kMainContainer] = {{7, directory_.path() / "socket"}};

  const auto adopted = adopt(wanted);

  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;
  sink_ = std::make_shared<CollectingSink>(executor());
  protocol::StartProcess process;
  process.container = kMainContainer;
  process.process = 5;
  process.argv = {"connect", "7"};
  ASSERT_TRUE(run(clone_->start_process(process, sink_)));
  ASSERT_TRUE(exit_of(5));
  EXPECT_EQ(sink_->out(), "said hello");
}

TEST_F(CloneMachineTest, PutsEachEndpointOnACardOfItsOwn) {
  restore();
  sink_ = std::make_shared<CollectingSink>(executor());
  MachineSpec with_endpoints = machine_spec();
  with_endpoints.endpoints.push_back(networks_.lend_next());
  with_endpoints.endpoints.push_back(networks_.lend_next());
  with_endpoints.endpoints.back().use_card(1);

  const auto started = begin(container_spec({"network"}, sink_), std::move(with_endpoints));

  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(exit_of(1));
  EXPECT_EQ(sink_->out(), "tap 0\ntap 1\neth0 172.17.0.2\neth1 172.17.0.3\n");
}

TEST_F(CloneMachineTest, HoldsItsEndpointsUntilItHasEnded) {
  restore();
  MachineSpec with_endpoint = machine_spec();
  with_endpoint.endpoints.push_back(networks_.lend_next());
  ASSERT_TRUE(begin(container_spec({"sleep"}), std::move(with_endpoint)));
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
  ContainerSpec wanted = container_spec({"silence"}, sink_);
  wanted.abandoned = nobody_waits.get_token();
  net::post(executor(), [&] { nobody_waits.request_stop(); });

  const auto started = begin(std::move(wanted));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "start the machine: its start was abandoned");
}

TEST_F(CloneMachineTest, SaysOnceThatItsFirstContainerIsInOrWillNotBe) {
  ASSERT_TRUE(start({"sleep"}));
  EXPECT_EQ(begun_, 1);
  clone_->kill();
  run(clone_->wait_stopped());
  EXPECT_EQ(begun_, 1);

  restore();
  ASSERT_TRUE(run(clone_->become(machine_spec(), [this] { ++begun_; })));
  EXPECT_EQ(begun_, 1);
  clone_->kill();
  run(clone_->wait_stopped());
  EXPECT_EQ(begun_, 2);
  EXPECT_EQ(run(clone_->add_container(container_spec({"sleep"}))).error().code, Code::kUnavailable);
}

/// A machine with a container, and what may be done with others in it.
class SecondContainerTest : public CloneMachineTest {
 protected:
  static constexpr ContainerNumber kSecond = 2;
  static constexpr std::chrono::seconds kPatience{10};

  void SetUp() override {
    CloneMachineTest::SetUp();
    ASSERT_TRUE(start({"sleep"}));
  }

  base::Result<ProcessStart> add(std::vector<std::string> argv, ContainerNumber number = kSecond) {
    second_ = std::make_shared<CollectingSink>(executor());
    ContainerSpec wanted = container_spec(std::move(argv), second_, number);
    wanted.disk = file("second", "seconds disk" + std::string(4084, '\0'));
    wanted.abandoned = nobody_waits_.get_token();
    wanted.process.process = next_process_++;
    return run(clone_->add_container(std::move(wanted)));
  }

  std::shared_ptr<CollectingSink> second_;
  std::stop_source nobody_waits_;
  ProcessId next_process_ = 10;
};

TEST_F(SecondContainerTest, HasADiskAndAProcessOfItsOwn) {
  ASSERT_TRUE(add({"disk"}));
  ASSERT_TRUE(exit_of(10));

  EXPECT_EQ(second_->out(), "seconds ");
  EXPECT_EQ(add({"disk"}).error().code, Code::kAlreadyExists);
}

TEST_F(SecondContainerTest, IsTakenOutWithItsProcessesAndItsDisk) {
  ASSERT_TRUE(add({"sleep"}));
  ASSERT_TRUE(run(clone_->remove_container(kSecond, kPatience)));

  const auto status = exit_of(10);
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->signaled);
  EXPECT_EQ(run(clone_->remove_container(kSecond, kPatience)).error().code, Code::kNotFound);
  ASSERT_TRUE(add({"disk"}));  // its place on the disk is free again
  ASSERT_TRUE(exit_of(11));
  EXPECT_TRUE(run(clone_->signal(1, SIGTERM)));  // the first one has run all the time
  EXPECT_TRUE(exit_of(1)->signaled);
}

TEST_F(SecondContainerTest, IsTakenOutOnceAtATime) {
  ASSERT_TRUE(add({"sleep"}));
  std::optional<base::Result<void>> first;
  const auto remove = [&]() -> net::awaitable<void> {
    auto removed = co_await clone_->remove_container(kSecond, kPatience);
    first = std::move(removed);
  };
  net::co_spawn(executor(), remove(), net::detached);

  EXPECT_EQ(run(clone_->remove_container(kSecond, kPatience)).error().code, Code::kConflict);
  run_until([&] { return first.has_value(); });
  EXPECT_TRUE(*first);
}

TEST_F(SecondContainerTest, HasAProcessThatTheMachineHasNot) {
  next_process_ = 1;
  EXPECT_EQ(add({"sleep"}).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(run(clone_->signal(1, SIGTERM)));  // still the first container's
}

TEST_F(SecondContainerTest, LeavesNothingIfItsProcessDoesNotStart) {
  const auto refused = add({"missing"});

  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->refusal);
  EXPECT_TRUE(add({"sleep"}));
}

TEST_F(SecondContainerTest, LeavesNothingIfNobodyWaitsForItAnyMore) {
  nobody_waits_.request_stop();
  EXPECT_EQ(add({"sleep"}).error().code, Code::kUnavailable);

  nobody_waits_ = {};
  EXPECT_TRUE(add({"sleep"}));
}

TEST_F(SecondContainerTest, HasANumberThatAMachineCanHave) {
  EXPECT_EQ(add({"sleep"}, 0).error().code, Code::kInvalidArgument);
  EXPECT_EQ(add({"sleep"}, kMostContainers + 1).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(add({"sleep"}, kMostContainers));
}

TEST_F(SecondContainerTest, IsCountedFromItsWayInToItsWayOut) {
  EXPECT_EQ(clone_->containers(), std::vector<ContainerNumber>{kMainContainer});
  ASSERT_TRUE(add({"sleep"}));
  EXPECT_EQ(clone_->containers().size(), 2u);

  ASSERT_TRUE(run(clone_->remove_container(kMainContainer, kPatience)));

  EXPECT_EQ(clone_->containers(), std::vector<ContainerNumber>{kSecond});
  EXPECT_TRUE(exit_of(1)->signaled);
  EXPECT_TRUE(run(clone_->signal(10, SIGTERM)));  // it has run all the time
}

/// A machine on two networks.
class NetworkCardsTest : public SecondContainerTest {
 protected:
  void SetUp() override {
    SecondContainerTest::SetUp();
    clone_->kill();
    run(clone_->wait_stopped());
    restore();
    sink_ = std::make_shared<CollectingSink>(executor());
    MachineSpec spec = machine_spec();
    spec.endpoints.push_back(lend(0));
    spec.endpoints.push_back(lend(1));
    ASSERT_TRUE(begin(container_spec({"sleep"}, sink_), std::move(spec)));
  }

  EndpointLease lend(std::uint32_t card) {
    EndpointLease lease = networks_.lend_next();
    lease.use_card(card);
    return lease;
  }

  /// The monitor's taps and the guest's interfaces.
  std::string cards() {
    const ProcessId process = next_process_;
    if (!add({"network"}) || !exit_of(process)) return "";
    const std::string text = second_->out();
    return run(clone_->remove_container(kSecond, kPatience)) ? text : "";
  }
};

TEST_F(NetworkCardsTest, HaveTheirAddressesOfIPv6) {
  networks_.next_address6 = "fd00::9";
  EndpointLease lease = networks_.lend_next();
  lease.use_card(2);

  ASSERT_TRUE(run(clone_->connect(std::move(lease), 0)));
  EXPECT_EQ(cards(),
            "tap 0\ntap 1\ntap 2\neth0 172.17.0.2\neth1 172.17.0.3\neth2 172.17.0.4 fd00::9\n");
}

TEST_F(NetworkCardsTest, ComeAndGoWhileTheMachineRuns) {
  EXPECT_EQ(cards(), "tap 0\ntap 1\neth0 172.17.0.2\neth1 172.17.0.3\n");

  ASSERT_TRUE(run(clone_->disconnect(0, 1)));
  EXPECT_EQ(cards(), "tap 1\neth1 172.17.0.3\n");
  EXPECT_EQ(networks_.lent, std::set<std::string>{"172.17.0.3"});
  EXPECT_TRUE(clone_->endpoints().at(0).default_route);

  ASSERT_TRUE(run(clone_->connect(lend(4), 4)));
  EXPECT_EQ(cards(), "tap 1\ntap 4\neth1 172.17.0.3\neth4 172.17.0.4\n");
  EXPECT_FALSE(clone_->endpoints().at(0).default_route);
  EXPECT_TRUE(clone_->endpoints().at(1).default_route);

  EXPECT_EQ(run(clone_->connect(lend(4), 4)).error().code, Code::kAlreadyExists);
  EXPECT_EQ(run(clone_->disconnect(0, 4)).error().code, Code::kNotFound);
  EXPECT_EQ(networks_.lent.size(), 2u);
}

TEST_F(NetworkCardsTest, GoAllAtOnce) {
  const auto disconnected = run(clone_->disconnect());

  ASSERT_TRUE(disconnected) << disconnected.error().message;
  EXPECT_TRUE(networks_.lent.empty());
  EXPECT_EQ(cards(), "");
  EXPECT_TRUE(run(clone_->disconnect()));
}

TEST_F(NetworkCardsTest, ThatCannotBeConnectedAreGivenBack) {
  EXPECT_FALSE(run(clone_->connect(lend(launch::kMostNetworkCards), 0)));

  EXPECT_EQ(networks_.lent.size(), 2u);
  EXPECT_EQ(cards(), "tap 0\ntap 1\neth0 172.17.0.2\neth1 172.17.0.3\n");
}

TEST_F(NetworkCardsTest, OfAnEarlierDaemonAreThoseThatAreKnownToBe) {
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.processes[1].sink = std::make_shared<CollectingSink>(executor());
  wanted.containers = {kMainContainer};
  const Endpoint second = clone_->endpoints().at(1);
  forget_everything();
  std::vector<EndpointLease> endpoints;
  endpoints.push_back(*run(networks_.resume(second)));

  const auto adopted = adopt(wanted, std::move(endpoints));

  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;
  next_process_ = 20;
  EXPECT_EQ(cards(), "tap 1\neth1 172.17.0.3\n");
}

TEST_F(SecondContainerTest, IsTakenOutByTheNextDaemonIfItWasOnlyOnItsWay) {
  ASSERT_TRUE(add({"sleep"}));
  forget_everything();
  AdoptSpec wanted;
  wanted.id = "c0ffee";
  wanted.secret = kSecret;
  wanted.processes[1].sink = sink_ = std::make_shared<CollectingSink>(executor());
  wanted.containers = {kMainContainer};

  const auto adopted = adopt(wanted);

  ASSERT_TRUE(adopted) << adopted.error().message;
  clone_ = *adopted;
  EXPECT_EQ(clone_->containers(), std::vector<ContainerNumber>{kMainContainer});
  next_process_ = 20;
  EXPECT_TRUE(add({"disk"}));  // nothing is in its place
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
  run(launcher_->remove_left_over("c0ffee"));

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
