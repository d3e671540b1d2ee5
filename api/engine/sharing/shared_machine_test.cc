// Several containers in one machine: those that share namespaces of another one.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <csignal>

#include "api/engine/containers/containers.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
using namespace std::chrono_literals;

class SharedMachineTest : public fakes::EngineFixture {
 protected:
  ContainerPtr run(std::vector<std::string> command, json host_config = json::object()) {
    const ContainerPtr container = create(std::move(command), std::move(host_config));
    start(container);
    return container;
  }
  void start(const ContainerPtr& container) {
    const auto started = await(containers_->start(container));
    EXPECT_TRUE(started) << started.error().message;
  }

  static json network_of(const ContainerPtr& donor) {
    return {{"NetworkMode", "container:" + donor->name}};
  }
  static json all_of(const ContainerPtr& donor) {
    const std::string mode = "container:" + donor->id;
    return {{"NetworkMode", mode}, {"IpcMode", mode}, {"PidMode", mode}};
  }
  ContainerPtr run_donor(json host_config = {{"IpcMode", "shareable"}}) {
    return run({"sleep"}, std::move(host_config));
  }

  static net::awaitable<void> start_and_count(Containers* containers, ContainerPtr container,
                                              int* started) {
    const auto result = co_await containers->start(container);
    if (result) ++*started;
  }

  Error error_of_start(const ContainerPtr& container) {
    const auto started = await(containers_->start(container));
    EXPECT_FALSE(started);
    return started ? Error{Code::kInternal, ""} : started.error();
  }
  void kill(const ContainerPtr& container) {
    const auto killed = await(containers_->kill(container, SIGKILL));
    EXPECT_TRUE(killed) << killed.error().message;
  }
  /// Until it has left its machine.
  void wait_gone(const ContainerPtr& container) {
    run_until([&] { return !container->run.machine; });
  }
  Result<void> remove(const ContainerPtr& container) {
    return await(containers_->remove(container, {.force = true, .volumes = false}));
  }
  bool is_over(const std::shared_ptr<Machine>& machine) {
    await(machine->wait_stopped());
    return true;
  }
  ContainerPtr find(const ContainerPtr& container) { return *containers_->find(container->id); }
};

TEST_F(SharedMachineTest, WhoSharesNamespacesIsInTheMachineOfWhoseTheyAre) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, all_of(donor));

  EXPECT_EQ(joiner->run.machine, donor->run.machine);
  EXPECT_EQ(joiner->state.machine.id, donor->state.machine.id);
  EXPECT_EQ(joiner->state.machine.number, 2u);
  const ContainerSpec& spec = host_.last_container();
  EXPECT_EQ(spec.settings.container, 2u);
  EXPECT_EQ(spec.settings.namespaces.network, 1u);
  EXPECT_EQ(spec.settings.namespaces.ipc, 1u);
  EXPECT_EQ(spec.settings.namespaces.pid, 1u);
  EXPECT_FALSE(spec.settings.namespaces.only_loopback);
  EXPECT_EQ(spec.process.process, joiner->run.process->id());
  EXPECT_NE(spec.process.process, kMainProcess);
  EXPECT_TRUE(joiner->state.machine.endpoints.empty());
  EXPECT_EQ(host_.endpoints_in_use(), 1u);
}

TEST_F(SharedMachineTest, HasTheNamesOfWhoseNetworkItShares) {
  const ContainerPtr donor =
      create({"sleep"}, json::object(), {{"Hostname", "web"}, {"Domainname", "test"}});
  start(donor);
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));

  EXPECT_EQ(joiner->settings.document.host_config.at("NetworkMode"), "container:" + donor->id);
  EXPECT_EQ(host_.last_container().settings.hostname, "web");
  EXPECT_EQ(host_.last_container().settings.domainname, "test");
  host_.leave_running(donor->id);
  open();
  EXPECT_EQ(find(joiner)->settings.naming.hostname, "web");
}

TEST_F(SharedMachineTest, MayHaveNoNetworkInTheOthersMachine) {
  const ContainerPtr donor = run_donor();
  run({"sleep"}, {{"NetworkMode", "none"}, {"PidMode", "container:" + donor->id}});

  EXPECT_TRUE(host_.last_container().settings.namespaces.only_loopback);
  EXPECT_EQ(host_.last_container().settings.namespaces.pid, 1u);
}

TEST_F(SharedMachineTest, HasNoMemoryFilesIfItIsToldSo) {
  run({"true"}, {{"IpcMode", "none"}});
  EXPECT_EQ(host_.last_container().settings.shm_bytes, 0u);
}

TEST_F(SharedMachineTest, SaysInDockersWordsWhyItCannotStart) {
  const ContainerPtr donor = create({"sleep"});
  const ContainerPtr network = create({"sleep"}, network_of(donor));
  const json none{{"NetworkMode", "none"}};
  json by_ipc = none, by_pid = none;
  by_ipc["IpcMode"] = by_pid["PidMode"] = "container:" + donor->id;
  const ContainerPtr ipc = create({"sleep"}, by_ipc);
  const ContainerPtr pid = create({"sleep"}, by_pid);
  const ContainerPtr lost = create({"sleep"}, {{"NetworkMode", "container:nobody"}});

  EXPECT_EQ(error_of_start(network).message,
            "cannot join network of a non running container: " + donor->id);
  EXPECT_EQ(error_of_start(network).code, Code::kConflict);
  EXPECT_EQ(error_of_start(ipc).message,
            "failed to join IPC namespace: container " + donor->id + " is not running");
  EXPECT_EQ(error_of_start(pid).message,
            "failed to join PID namespace: container " + donor->id + " is not running");
  EXPECT_EQ(error_of_start(lost).code, Code::kNotFound);
  start(donor);
  const Error private_ipc = error_of_start(ipc);
  EXPECT_EQ(private_ipc.code, Code::kInvalidArgument);
  EXPECT_EQ(private_ipc.message,
            "failed to join IPC namespace: container " + donor->id +
                ": non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
  start(pid);
}

TEST_F(SharedMachineTest, IsInOneMachineOnly) {
  const ContainerPtr one = run_donor();
  const ContainerPtr other = run_donor();
  json both = network_of(one);
  both["PidMode"] = "container:" + other->name;

  EXPECT_EQ(error_of_start(create({"sleep"}, both)).code, Code::kConflict);
}

TEST_F(SharedMachineTest, MayShareWhatAnotherOneShares) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, all_of(donor));
  const ContainerPtr third = run({"sleep"}, all_of(joiner));

  EXPECT_EQ(third->run.machine, donor->run.machine);
  EXPECT_EQ(third->state.machine.number, 3u);
  EXPECT_EQ(host_.last_container().settings.namespaces.ipc, 2u);
}

TEST_F(SharedMachineTest, RunsOnWhenTheOtherOneHasEndedButWithoutItsNetwork) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));
  const auto machine = donor->run.machine;

  kill(donor);
  wait_gone(donor);

  EXPECT_EQ(joiner->state.status, Status::kRunning);
  EXPECT_EQ(machine->containers(), std::vector<ContainerNumber>{2});
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
  start(donor);  // in another machine, under another name
  EXPECT_NE(donor->run.machine, machine);
  EXPECT_NE(donor->state.machine.id, joiner->state.machine.id);
  kill(joiner);
  wait_gone(joiner);
  EXPECT_TRUE(is_over(machine));
  EXPECT_EQ(donor->state.status, Status::kRunning);
  start(joiner);
  EXPECT_EQ(joiner->run.machine, donor->run.machine);
}

TEST_F(SharedMachineTest, EndsFirstAndComesAgain) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));
  const ProcessId first = joiner->run.process->id();

  kill(joiner);
  wait_gone(joiner);
  EXPECT_EQ(joiner->state.exit_code, 137);
  EXPECT_EQ(donor->run.machine->containers(), std::vector<ContainerNumber>{1});
  start(joiner);

  EXPECT_EQ(joiner->run.machine, donor->run.machine);
  EXPECT_NE(joiner->run.process->id(), first);
  EXPECT_EQ(donor->state.status, Status::kRunning);
}

TEST_F(SharedMachineTest, EndsWithThePidNamespaceThatItShares) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, all_of(donor));
  const auto machine = donor->run.machine;

  kill(donor);
  wait_gone(donor);
  wait_gone(joiner);

  EXPECT_EQ(joiner->state.exit_code, 137);
  EXPECT_TRUE(is_over(machine));
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
}

TEST_F(SharedMachineTest, AFailedStartLeavesNothingInTheMachine) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = create({"no-such-command"}, network_of(donor));

  EXPECT_EQ(error_of_start(joiner).code, Code::kInvalidArgument);

  EXPECT_EQ(joiner->state.exit_code, 127);
  EXPECT_EQ(donor->run.machine->containers(), std::vector<ContainerNumber>{1});
  EXPECT_EQ(donor->state.status, Status::kRunning);
}

TEST_F(SharedMachineTest, IsRemovedInAnyOrder) {
  for (const bool donor_first : {true, false}) {
    const ContainerPtr donor = run_donor();
    const ContainerPtr joiner = run({"sleep"}, network_of(donor));
    const ContainerPtr other = run({"immortal"}, network_of(donor));
    const auto machine = donor->run.machine;
    const std::vector<ContainerPtr> order =
        donor_first ? std::vector{donor, joiner} : std::vector{joiner, donor};

    for (const ContainerPtr& container : order) {
      const auto removed = remove(container);
      EXPECT_TRUE(removed) << removed.error().message;
      EXPECT_EQ(other->state.status, Status::kRunning);
    }
    EXPECT_EQ(machine->containers(), std::vector<ContainerNumber>{3});
    machine->kill();
    wait_gone(other);
    EXPECT_TRUE(remove(other));
    EXPECT_EQ(host_.endpoints_in_use(), 0u);
  }
}

TEST_F(SharedMachineTest, ItsAutoRemovalEndsNobodyElse) {
  const ContainerPtr donor = run_donor();
  json with_removal = network_of(donor);
  with_removal["AutoRemove"] = true;
  const ContainerPtr joiner = run({"true"}, with_removal);

  run_until([&] { return joiner->removal.done; });

  EXPECT_EQ(donor->state.status, Status::kRunning);
  EXPECT_EQ(donor->run.machine->containers(), std::vector<ContainerNumber>{1});
}

TEST_F(SharedMachineTest, AMachineThatDiesEndsAll) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));

  donor->run.machine->kill();
  wait_gone(donor);
  wait_gone(joiner);

  EXPECT_EQ(donor->state.status, Status::kExited);
  EXPECT_EQ(joiner->state.status, Status::kExited);
  start(donor);
  start(joiner);
}

TEST_F(SharedMachineTest, ManyStartAtOnce) {
  const ContainerPtr donor = run_donor();
  std::vector<ContainerPtr> joiners;
  int started = 0;
  for (int i = 0; i < 5; ++i) joiners.push_back(create({"sleep"}, network_of(donor)));
  for (const ContainerPtr& joiner : joiners)
    net::co_spawn(io_, start_and_count(containers_.get(), joiner, &started), net::detached);
  run_until([&] { return started == 5; });

  EXPECT_EQ(donor->run.machine->containers().size(), 6u);
}

TEST_F(SharedMachineTest, TheNextDaemonGoesOnWithAllOfThem) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, all_of(donor));
  const ContainerPtr stopped = run({"sleep"}, network_of(donor));
  kill(stopped);
  wait_gone(stopped);
  host_.leave_running(donor->id);

  open();

  EXPECT_EQ(find(donor)->state.status, Status::kRunning);
  EXPECT_EQ(find(joiner)->state.status, Status::kRunning);
  EXPECT_EQ(find(joiner)->run.machine, find(donor)->run.machine);
  EXPECT_EQ(find(joiner)->run.process->id(), joiner->run.process->id());
  EXPECT_EQ(find(stopped)->state.status, Status::kExited);
  EXPECT_EQ(host_.last_adopted()->containers(), (std::vector<ContainerNumber>{1, 2}));
  kill(find(joiner));
  wait_gone(find(joiner));
  EXPECT_EQ(find(donor)->state.status, Status::kRunning);
  start(find(stopped));
  EXPECT_EQ(find(stopped)->run.machine, find(donor)->run.machine);
}

TEST_F(SharedMachineTest, TheNextDaemonGoesOnWithOneThatIsLeft) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));
  kill(donor);
  wait_gone(donor);
  host_.leave_running(donor->id);

  open();

  EXPECT_EQ(find(joiner)->state.status, Status::kRunning);
  EXPECT_EQ(find(donor)->state.status, Status::kExited);
  EXPECT_EQ(host_.last_adopted()->containers(), std::vector<ContainerNumber>{2});
  start(find(donor));
  kill(find(joiner));
  wait_gone(find(joiner));
  EXPECT_TRUE(is_over(host_.last_adopted()));
}

TEST_F(SharedMachineTest, AllAreLostWithTheirMachine) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));

  open();

  EXPECT_EQ(find(donor)->state.exit_code, 255);
  EXPECT_EQ(find(joiner)->state.exit_code, 255);
}

TEST_F(SharedMachineTest, PoliciesStartItAfterWhoseNamespacesItShares) {
  json always{{"RestartPolicy", {{"Name", "always"}}}};
  // By ID, and so by chance, either comes first.
  for (int i = 0; i < 4; ++i) {
    const ContainerPtr donor = run_donor(always);
    json joins = network_of(donor);
    joins.update(always);
    run({"sleep"}, joins);
  }

  open();

  const auto all_run = [&] {
    for (const ContainerPtr& container : containers_->list())
      if (!container->state.running()) return false;
    return true;
  };
  run_until(all_run);
  EXPECT_EQ(containers_->list().size(), 8u);
}

TEST_F(SharedMachineTest, TheMachineHasRoomForThoseThatWillBeInIt) {
  const std::uint64_t mib = 1u << 20;
  const ContainerPtr donor = create({"sleep"}, {{"Memory", 100 * mib}});
  json limited = network_of(donor);
  limited["Memory"] = 700 * mib;
  limited["NanoCpus"] = 2'000'000'000;
  const ContainerPtr joiner = create({"sleep"}, limited);

  start(donor);

  EXPECT_EQ(host_.last_machine().shape.memory_bytes, 1024 * mib);
  EXPECT_EQ(host_.last_machine().shape.vcpus, 2u);
  start(joiner);
}

TEST_F(SharedMachineTest, IsRefusedIfTheMachineHasNoRoomForItsLimits) {
  const std::uint64_t mib = 1u << 20;
  const ContainerPtr donor = run_donor({{"Memory", 100 * mib}});
  json limited = network_of(donor);
  limited["Memory"] = 700 * mib;
  const ContainerPtr joiner = create({"sleep"}, limited);

  const Error refused = error_of_start(joiner);

  EXPECT_EQ(refused.code, Code::kConflict);
  EXPECT_NE(refused.message.find("has 256 MiB of memory"), std::string::npos) << refused.message;
  ASSERT_TRUE(await(containers_->restart(donor, 0s)));
  start(joiner);
}

TEST_F(SharedMachineTest, WhoIsShareableExpectsOthers) {
  run_donor();
  EXPECT_EQ(host_.last_machine().shape.memory_bytes, std::uint64_t{4} << 30);
  memory_.total_bytes = std::uint64_t{2} << 30;
  run_donor();
  EXPECT_EQ(host_.last_machine().shape.memory_bytes, std::uint64_t{2} << 30);
}

TEST_F(SharedMachineTest, ItsPauseAndItsLimitsAreItsOwn) {
  const ContainerPtr donor = run_donor();
  const ContainerPtr joiner = run({"sleep"}, network_of(donor));

  ASSERT_TRUE(await(containers_->pauses().pause(donor)));
  const ContainerPtr late = run({"sleep"}, network_of(donor));  // as with Docker

  EXPECT_EQ(joiner->state.status, Status::kRunning);
  EXPECT_EQ(late->state.status, Status::kRunning);
  EXPECT_TRUE(await(containers_->update(joiner, {{"Memory", 64 << 20}})));
  EXPECT_FALSE(await(containers_->update(joiner, {{"BlkioWeight", 100}})));
}

TEST(ContainerState, KeepsThePlaceInItsMachine) {
  ContainerState state;
  state.machine.id = "0123456789ab-0123456789abcdef";
  state.machine.number = 7;
  state.machine.process = 1234;
  state.machine.shape = {.vcpus = 3, .memory_bytes = 5};
  const std::string text = to_json_text(state);
  const auto kept = stored_state(text);
  const auto older = stored_state(R"({"status": "running"})");
  const auto damaged = [&](const char* path, const json& value) {
    json changed = json::parse(text);
    changed[path] = value;
    return stored_state(changed.dump()).damage;
  };

  EXPECT_EQ(kept.damage + older.damage, "");
  EXPECT_EQ(kept.value.machine.id, state.machine.id);
  EXPECT_EQ(kept.value.machine.number, 7u);
  EXPECT_EQ(kept.value.machine.process, 1234u);
  EXPECT_EQ(kept.value.machine.shape, state.machine.shape);
  EXPECT_EQ(older.value.machine.id, "");
  EXPECT_EQ(older.value.machine.number, kMainContainer);
  EXPECT_NE(damaged("machine", "../x"), "");
  EXPECT_NE(damaged("machine_number", 0), "");
  EXPECT_NE(damaged("machine_number", kMostContainers + 1), "");
  EXPECT_NE(damaged("machine_process", 0x8000'0000u), "");
}

}  // namespace
}  // namespace engine
