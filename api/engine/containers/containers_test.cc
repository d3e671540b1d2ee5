#include "api/engine/containers/containers.h"

#include <gtest/gtest.h>

#include <csignal>

#include "api/engine/container/machine_spec.h"
#include "api/engine/execs/execs.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;
using namespace std::chrono_literals;

class ContainersTest : public fakes::EngineFixture {
 protected:
  std::vector<std::string> actions() {
    std::vector<std::string> seen;
    Events::Cursor cursor = Events::kBeginning;
    while (auto event = events_->next(cursor)) seen.push_back(event->type + " " + event->action);
    return seen;
  }

  ContainerPtr run(std::vector<std::string> command, json host_config = json::object()) {
    const ContainerPtr container = create(std::move(command), std::move(host_config));
    EXPECT_TRUE(await(containers_->start(container)));
    return container;
  }

  void run_to_exit(const ContainerPtr& container) {
    run_until([&] { return container->run.exits > 0 && !container->run.machine; });
  }
};

TEST_F(ContainersTest, RunsAContainerToItsExit) {
  const ContainerPtr container = run({"exit", "42"});

  const WaitResult result = await(wait(container, WaitCondition::kNotRunning, 0));

  EXPECT_EQ(result.exit_code, 42);
  EXPECT_EQ(container->state.status, Status::kExited);
  EXPECT_GE(container->state.finished_at, container->state.started_at);
  run_to_exit(container);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
}

TEST_F(ContainersTest, PublishesEventsInDockersOrder) {
  const ContainerPtr container = run({"true"}, {{"AutoRemove", true}});

  run_until([&] { return container->removal.done; });

  EXPECT_EQ(actions(),
            (std::vector<std::string>{"container create", "network connect", "container start",
                                      "network disconnect", "container die", "container destroy"}));
}

TEST_F(ContainersTest, FiltersTheCallsOfContainersThatAreNotPrivileged) {
  const auto filter_of = [&](json host_config) {
    run({"true"}, std::move(host_config));
    return host_.last_container().process.seccomp_filter;
  };
  const auto standard = filter_of(json::object());

  EXPECT_FALSE(standard.empty());
  EXPECT_EQ(filter_of({{"SecurityOpt", {"seccomp=builtin"}}}), standard);
  EXPECT_NE(filter_of({{"CapAdd", {"SYS_ADMIN"}}}), standard);
  EXPECT_TRUE(filter_of({{"SecurityOpt", {"seccomp=unconfined"}}}).empty());
  EXPECT_TRUE(filter_of({{"SecurityOpt", {"seccomp={}"}}}).empty());
  EXPECT_TRUE(filter_of({{"Privileged", true}}).empty());
  const std::string custom =
      R"(seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir",)"
      R"("action":"SCMP_ACT_KILL"}]})";
  EXPECT_FALSE(filter_of({{"SecurityOpt", {custom}}, {"Privileged", true}}).empty());
}

TEST_F(ContainersTest, LooksAtASeccompProfileWhenItStarts) {
  const ContainerPtr container = create({"true"}, {{"SecurityOpt", {"seccomp=/no/such"}}});

  const auto started = await(containers_->start(container));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInternal);
  EXPECT_EQ(
      started.error().message,
      "Decoding seccomp profile failed: invalid character '/' looking for beginning of value");
  EXPECT_EQ(container->state.error, started.error().message);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
}

TEST_F(ContainersTest, GivesTheMachineWhatTheContainerAskedFor) {
  run({"true"}, {{"Memory", 64 << 20}, {"CapAdd", {"NET_ADMIN"}}, {"Init", true}});

  const ContainerSpec& spec = host_.last_container();
  const std::string name = host_.last_machine().id.substr(0, 12);
  EXPECT_EQ(spec.settings.limits.memory_bytes, 64u << 20);
  EXPECT_EQ(spec.process.capabilities >> 12 & 1, 1u);
  EXPECT_TRUE(spec.process.use_init);
  EXPECT_EQ(spec.process.env,
            (std::vector<std::string>{"PATH=/bin", "HOSTNAME=" + name, "COLOUR=blue"}));
  EXPECT_NE(spec.settings.hosts_file.find("172.17.0.2\t" + name), std::string::npos);
}

TEST_F(ContainersTest, LaterVariablesTakeThePlacesOfEarlierOnes) {
  const ContainerPtr container = create({"true"});
  container->settings.process.env = {"A=1", "B=1", "A=2", "HOSTNAME", "B"};
  ExecSettings exec;
  exec.command = {"true"};
  exec.env = {"A=3", "B", "C=1", "C", "NOTHING", "C=2"};

  const auto process = exec_process_for(*container, exec);

  EXPECT_EQ(std::vector<std::string>(process.env.begin() + 1, process.env.end()),
            (std::vector<std::string>{"A=3", "C=2"}));
  EXPECT_TRUE(process.env.front().starts_with("PATH="));
}

TEST_F(ContainersTest, StartsOnlyOnce) {
  const ContainerPtr container = run({"sleep"});

  const auto again = await(containers_->start(container));

  ASSERT_TRUE(again);
  EXPECT_EQ(*again, StartResult::kAlreadyRunning);
}

TEST_F(ContainersTest, StopsWithTheStopSignalFirst) {
  const ContainerPtr container = run({"sleep"});

  const auto stopped = await(containers_->stop(container, 10s));

  ASSERT_TRUE(stopped);
  EXPECT_EQ(container->state.exit_code, 128 + SIGTERM);
  EXPECT_EQ(*await(containers_->stop(container, 10s)), StopResult::kNotRunning);
}

TEST_F(ContainersTest, KillsWhatDoesNotStopInTime) {
  const ContainerPtr container = run({"stubborn"});

  ASSERT_TRUE(await(containers_->stop(container, 0s)));

  EXPECT_EQ(container->state.exit_code, 137);
}

TEST_F(ContainersTest, PausesAndGoesOn) {
  const ContainerPtr container = run({"sleep"});

  ASSERT_TRUE(await(containers_->pauses().pause(container)));
  EXPECT_EQ(container->state.status, Status::kPaused);
  EXPECT_EQ(await(containers_->pauses().pause(container)).error().code, Code::kConflict);

  ASSERT_TRUE(await(containers_->pauses().unpause(container)));
  EXPECT_EQ(container->state.status, Status::kRunning);
  EXPECT_FALSE(await(containers_->pauses().unpause(container)));
  const std::vector<std::string> seen = actions();
  EXPECT_EQ((std::vector<std::string>{seen.end() - 2, seen.end()}),
            (std::vector<std::string>{"container pause", "container unpause"}));
}

TEST_F(ContainersTest, StoppingAPausedContainerLetsItSeeTheSignal) {
  const ContainerPtr container = run({"sleep"});
  ASSERT_TRUE(await(containers_->pauses().pause(container)));

  const auto stopped = await(containers_->stop(container, 10s));

  ASSERT_TRUE(stopped);
  EXPECT_EQ(container->state.exit_code, 128 + SIGTERM);
}

TEST_F(ContainersTest, OnlyARunningContainerCanBePaused) {
  const ContainerPtr container = create({"true"});

  EXPECT_EQ(await(containers_->pauses().pause(container)).error().code, Code::kConflict);
  EXPECT_FALSE(await(containers_->pauses().unpause(container)));
}

TEST_F(ContainersTest, UpdateChangesWhatItNamesAndKeepsIt) {
  const ContainerPtr container = run({"sleep"}, {{"PidsLimit", 10}});

  const auto updated = await(containers_->update(
      container,
      {{"Memory", 64 << 20}, {"RestartPolicy", {{"Name", "always"}}}, {"CpuShares", 0}}));

  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ(container->settings.document.host_config.at("Memory"), 64 << 20);
  EXPECT_EQ(container->settings.document.host_config.at("PidsLimit"), 10);
  EXPECT_EQ(container->settings.restart_policy.kind, RestartPolicy::Kind::kAlways);
  const auto statistics = await(container->run.machine->statistics(kMainContainer));
  EXPECT_EQ(statistics->memory_max, "67108864\n");
}

TEST_F(ContainersTest, UpdateRefusesWhatCannotBe) {
  const ContainerPtr container = run({"sleep"}, {{"CpuQuota", 50000}, {"AutoRemove", true}});
  const auto refusal = [&](const json& changes) {
    return await(containers_->update(container, changes)).error().message;
  };

  EXPECT_EQ(refusal({{"NanoCpus", 1'000'000'000}}),
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set");
  EXPECT_EQ(refusal({{"RestartPolicy", {{"Name", "always"}}}}),
            "Restart policy cannot be updated because AutoRemove is enabled for the container");
  EXPECT_NE(refusal({{"Memory", std::int64_t{1} << 30}}).find("512 MiB"), std::string::npos);
  EXPECT_NE(refusal({{"Memory", 1}}).find("Minimum memory limit"), std::string::npos);
  EXPECT_NE(refusal({{"Privileged", true}}).find("cannot be changed"), std::string::npos);
  EXPECT_NE(refusal(json::array()), "");
  EXPECT_EQ(container->settings.document.host_config.at("Memory"), 0);
}

TEST_F(ContainersTest, KillNeedsARunningContainer) {
  const ContainerPtr container = create({"true"});

  const auto killed = await(containers_->kill(container, SIGKILL));

  ASSERT_FALSE(killed);
  EXPECT_EQ(killed.error().code, Code::kConflict);
}

TEST_F(ContainersTest, AFailedStartKeepsTheContainerAndSaysWhy) {
  const ContainerPtr container = create({"no-such-command"});

  const auto started = await(containers_->start(container));

  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("executable file not found in $PATH"), std::string::npos);
  EXPECT_EQ(container->state.status, Status::kCreated);
  EXPECT_EQ(container->state.exit_code, 127);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
}

TEST_F(ContainersTest, AFailedStartWithAutoRemoveRemovesAndWakesWaiters) {
  const ContainerPtr container = create({"/etc/passwd"}, {{"AutoRemove", true}});

  ASSERT_FALSE(await(containers_->start(container)));
  const WaitResult result = await(wait(container, WaitCondition::kRemoved, 0));

  EXPECT_EQ(result.exit_code, 126);
  EXPECT_FALSE(containers_->find(container->id));
  EXPECT_EQ(images_.holders(), 0u);
  EXPECT_FALSE(std::filesystem::exists(container->storage.directory));
}

TEST_F(ContainersTest, AMachineThatCannotStartLeavesNothingBehind) {
  const ContainerPtr container = create({"true"});
  host_.fail_next_start({Code::kResourceExhausted, "no memory"});

  const auto started = await(containers_->start(container));

  ASSERT_FALSE(started);
  EXPECT_EQ(container->state.exit_code, 128);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
  EXPECT_TRUE(await(containers_->start(container)));
}

TEST_F(ContainersTest, AnUnknownNetworkFailsAtStart) {
  const ContainerPtr container = create({"true"}, {{"NetworkMode", "mine"}});

  const auto started = await(containers_->start(container));

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kNotFound);
}

TEST_F(ContainersTest, RemovingARunningContainerNeedsForce) {
  const ContainerPtr container = run({"sleep"});

  const auto refused = await(containers_->remove(container, {}));
  const auto removed = await(containers_->remove(container, {.force = true}));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_TRUE(removed);
  EXPECT_FALSE(containers_->find(container->id));
}

TEST_F(ContainersTest, FindsByIdNameAndUniquePrefix) {
  const ContainerPtr container = create({"true"});

  for (const std::string& name : {container->id, container->name, "/" + container->name,
                                  container->id.substr(0, 12), container->id.substr(0, 3)})
    EXPECT_EQ(containers_->find(name) ? *containers_->find(name) : nullptr, container) << name;
  EXPECT_EQ(containers_->find("nothing").error().message, "No such container: nothing");
}

TEST_F(ContainersTest, RenamesUnlessTheNameIsTaken) {
  const ContainerPtr first = create({"true"});
  const ContainerPtr second = create({"true"});

  EXPECT_TRUE(containers_->rename(first, "mine"));
  const auto taken = containers_->rename(second, "mine");

  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Code::kConflict);
  EXPECT_EQ(*containers_->find("mine"), first);
  EXPECT_FALSE(containers_->rename(second, "-bad"));
}

TEST_F(ContainersTest, RestartsByPolicyUntilTheLimit) {
  const ContainerPtr container =
      run({"exit", "3"}, {{"RestartPolicy", {{"Name", "on-failure"}, {"MaximumRetryCount", 2}}}});

  run_until([&] { return container->state.status == Status::kExited; });

  EXPECT_EQ(container->state.restart_count, 2);
  EXPECT_EQ(container->run.exits, 3u);
}

TEST_F(ContainersTest, AStoppedContainerIsNotRestarted) {
  const ContainerPtr container = run({"sleep"}, {{"RestartPolicy", {{"Name", "always"}}}});

  ASSERT_TRUE(await(containers_->stop(container, 10s)));

  EXPECT_EQ(container->state.status, Status::kExited);
}

TEST_F(ContainersTest, NextExitIsNotALaterOne) {
  const ContainerPtr container = run({"exit", "1"});
  run_to_exit(container);

  ASSERT_TRUE(await(containers_->start(container)));
  const WaitResult result = await(wait(container, WaitCondition::kNextExit, 1));

  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(container->run.exits, 2u);
}

TEST_F(ContainersTest, DeliversAllOutputToTheLogAndToAttachments) {
  const ContainerPtr container = create({"echo", "hello", "there"});
  const auto attachment = container->run.process->attach(true, true);

  ASSERT_TRUE(await(containers_->start(container)));
  const auto chunk = await(attachment->next());
  const auto end = await(attachment->next());

  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->bytes.size(), 12u);
  EXPECT_FALSE(end);
  const auto reader = await(container->storage.log->read(false));
  ASSERT_TRUE(reader);
  const auto batch = await((*reader)->next_batch());
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->entries.at(0).text, "hello there\n");
}

TEST_F(ContainersTest, ASlowAttachmentHoldsTheProcessBack) {
  const std::size_t size = 4 * OutputHub::kQueueLimit;
  const ContainerPtr container = create({"spew", std::to_string(size)});
  auto attachment = container->run.process->attach(true, true);
  ASSERT_TRUE(await(containers_->start(container)));

  settle();
  EXPECT_TRUE(container->state.running());
  std::size_t received = 0;
  while (const auto chunk = await(attachment->next())) received += chunk->bytes.size();

  EXPECT_EQ(received, size);
}

TEST_F(ContainersTest, ADetachedAttachmentHoldsNothingBack) {
  const ContainerPtr container = create({"spew", std::to_string(4 * OutputHub::kQueueLimit)});
  auto attachment = container->run.process->attach(true, true);
  ASSERT_TRUE(await(containers_->start(container)));
  settle();

  attachment.reset();

  run_to_exit(container);
  EXPECT_EQ(container->state.exit_code, 0);
}

TEST_F(ContainersTest, KnowsItsContainersAfterARestart) {
  const ContainerPtr stopped = run({"exit", "7"});
  run_to_exit(stopped);
  const ContainerPtr running = create({"sleep"});
  // As a crash leaves it: the database says it runs, no machine does.
  running->state.status = Status::kRunning;
  ASSERT_TRUE(database_->run("UPDATE containers SET state = ? WHERE id = ?",
                             {to_json_text(running->state), running->id}));
  std::filesystem::create_directory(directory_ / "containers" / "half-made");

  open();

  const auto first = containers_->find(stopped->id);
  const auto second = containers_->find(running->id);
  ASSERT_TRUE(first && second);
  EXPECT_EQ((*first)->state.exit_code, 7);
  EXPECT_EQ((*first)->name, stopped->name);
  EXPECT_EQ((*second)->state.status, Status::kExited);
  EXPECT_EQ((*second)->state.exit_code, 255);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "containers" / "half-made"));
}

TEST_F(ContainersTest, EveryMachineHasASecretOfItsOwnThatTheNextDaemonKnows) {
  const ContainerPtr container = create({"sleep"});
  ASSERT_TRUE(await(containers_->start(container)));
  const protocol::Secret first = host_.last_machine().secret;
  ASSERT_TRUE(await(containers_->kill(container, SIGKILL)));
  await(wait(container, WaitCondition::kNotRunning, 0));
  ASSERT_TRUE(await(containers_->start(container)));
  const protocol::Secret second = host_.last_machine().secret;
  host_.leave_running(container->id);

  open();

  EXPECT_NE(first, protocol::Secret{});
  EXPECT_NE(second, protocol::Secret{});
  EXPECT_NE(first, second);
  EXPECT_EQ(host_.last_adopted_secret(), second);
}

TEST_F(ContainersTest, TheSecretIsKeptBeforeTheMachineRuns) {
  const ContainerPtr container = create({"sleep"});
  host_.fail_next_start({Code::kUnavailable, "the daemon might have died here"});
  ASSERT_FALSE(await(containers_->start(container)));
  host_.leave_running(container->id);

  open();

  EXPECT_EQ(host_.last_adopted_secret(), host_.last_machine().secret);
}

TEST(ContainerState, KeepsItsMachinesSecretAndTakesRowsWithoutOne) {
  ContainerState state;
  const auto older = stored_state(to_json_text(state));
  for (std::size_t i = 0; i < state.machine.secret.size(); ++i)
    state.machine.secret[i] = static_cast<std::uint8_t>(0xff - 7 * i);
  const std::string text = to_json_text(state);
  const auto kept = stored_state(text);
  std::string damaged = text;
  damaged.replace(damaged.find("fff8"), 4, "xff8");

  EXPECT_EQ(older.damage + kept.damage, "");
  EXPECT_EQ(older.value.machine.secret, protocol::Secret{});
  EXPECT_EQ(kept.value.machine.secret, state.machine.secret);
  EXPECT_EQ(stored_state(damaged).damage, "state.machine_secret is not a secret");
}

TEST_F(ContainersTest, AMachineThatOutlivedItsContainerIsEndedInOrder) {
  const ContainerPtr exited = run({"true"});
  await(wait(exited, WaitCondition::kNotRunning, 0));
  host_.leave_running(exited->id);

  open();

  ASSERT_TRUE(host_.last_adopted());
  EXPECT_EQ(await(host_.last_adopted()->wait_stopped()).reason, EndReason::kGuestShutdown);
  const ContainerPtr known = *containers_->find(exited->id);
  EXPECT_EQ(known->state.status, Status::kExited);
  EXPECT_TRUE(await(containers_->start(known)));
}

TEST_F(ContainersTest, AFailedCreateLeavesNothing) {
  auto settings = parse_settings({{"Image", "nothing"}, {"Cmd", {"true"}}});
  ASSERT_TRUE(settings);

  CreateRequest request{.name = "x1", .settings = *std::move(settings)};
  const auto created = await(containers_->create(std::move(request)));

  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kNotFound);
  EXPECT_TRUE(containers_->list().empty());
}

TEST_F(ContainersTest, EventsSurviveARestart) {
  create({"true"});
  events_->flush();

  open();

  Events::Cursor cursor = Events::kBeginning;
  EXPECT_EQ(events_->next(cursor)->action, "create");
  EXPECT_FALSE(events_->next(cursor));
}

}  // namespace
}  // namespace engine
