#include "api/engine/execs/health_monitor.h"

#include <gtest/gtest.h>

#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::int64_t kMillisecond = 1'000'000;

class HealthMonitorTest : public fakes::EngineFixture {
 protected:
  /// Runs a container that sleeps and is probed every millisecond.
  ContainerPtr run(std::vector<std::string> probe, json more = json::object()) {
    json check{{"Test", std::move(probe)}, {"Interval", kMillisecond}, {"Retries", 2}};
    check.update(more);
    const ContainerPtr container = create({"sleep"}, json::object(), {{"Healthcheck", check}});
    EXPECT_TRUE(await(containers_->start(container)));
    return container;
  }

  void run_until_probed(const ContainerPtr& container, std::size_t times = 1) {
    run_until([&] { return container->state.health->log.size() >= times; });
  }
  void run_until_status(const ContainerPtr& container, HealthStatus status) {
    run_until([&] { return container->state.health->status == status; });
  }
  std::vector<Event> events() {
    std::vector<Event> seen;
    Events::Cursor cursor = 0;
    while (auto event = events_->next(cursor)) seen.push_back(*std::move(event));
    return seen;
  }
};

TEST_F(HealthMonitorTest, AContainerBeginsAsStarting) {
  const ContainerPtr container =
      create({"sleep"}, json::object(), {{"Healthcheck", {{"Test", {"CMD", "true"}}}}});
  EXPECT_FALSE(container->state.health);

  ASSERT_TRUE(await(containers_->start(container)));

  ASSERT_TRUE(container->state.health);
  EXPECT_EQ(container->state.health->status, HealthStatus::kStarting);
  EXPECT_EQ(health_->watched(), 1u);
}

TEST_F(HealthMonitorTest, WithoutACheckNothingIsWatched) {
  const ContainerPtr container =
      create({"sleep"}, json::object(), {{"Healthcheck", {{"Test", {"NONE"}}}}});

  ASSERT_TRUE(await(containers_->start(container)));

  EXPECT_FALSE(container->state.health);
  EXPECT_EQ(health_->watched(), 0u);
}

TEST_F(HealthMonitorTest, IsHealthyAfterAProbeThatSucceeds) {
  const ContainerPtr container = run({"CMD", "echo", "fine"});

  run_until_status(container, HealthStatus::kHealthy);

  const HealthResult& result = container->state.health->log.front();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "fine\n");
  EXPECT_GE(result.start, container->state.started_at);
  EXPECT_GE(result.end, result.start);
}

TEST_F(HealthMonitorTest, PublishesTheProbeAndThenTheChange) {
  const ContainerPtr container = run({"CMD", "echo", "well"});

  run_until_status(container, HealthStatus::kHealthy);

  std::vector<Event> seen = events();
  seen.erase(seen.begin(), seen.end() - 4);
  EXPECT_EQ(seen[0].action, "exec_create: echo well");
  EXPECT_EQ(seen[1].action, "exec_start: echo well");
  EXPECT_EQ(seen[2].action, "exec_die");
  EXPECT_EQ(seen[2].attributes.at("exitCode"), "0");
  EXPECT_EQ(seen[2].attributes.at("execID"), seen[0].attributes.at("execID"));
  EXPECT_EQ(seen[3].action, "health_status: healthy");
  EXPECT_EQ(seen[3].actor, container->id);
  EXPECT_EQ(seen[3].attributes.at("image"), "busybox");
}

TEST_F(HealthMonitorTest, IsUnhealthyAfterItsRetries) {
  const ContainerPtr container = run({"CMD", "exit", "3"});

  run_until_status(container, HealthStatus::kUnhealthy);

  EXPECT_EQ(container->state.health->failing_streak, 2);
  EXPECT_EQ(container->state.health->log.back().exit_code, 3);
  EXPECT_EQ(events().back().action, "health_status: unhealthy");
}

TEST_F(HealthMonitorTest, KillsAProbeThatTakesTooLong) {
  const ContainerPtr container = run({"CMD", "stubborn"}, {{"Timeout", kMillisecond}});

  run_until_probed(container);

  const HealthResult& result = container->state.health->log.front();
  EXPECT_EQ(result.exit_code, -1);
  EXPECT_EQ(result.output, "Health check exceeded timeout (1ms)");
  EXPECT_EQ(events().back().attributes.at("exitCode"), "137");
}

TEST_F(HealthMonitorTest, SaysWhyAProbeCannotBeStarted) {
  const ContainerPtr container = run({"CMD", "no-such-command"});

  run_until_probed(container);

  const HealthResult& result = container->state.health->log.front();
  EXPECT_EQ(result.exit_code, -1);
  EXPECT_NE(result.output.find("executable file not found in $PATH"), std::string::npos);
}

TEST_F(HealthMonitorTest, AGuestThatDoesNotStartAProbeGetsNoSecondOne) {
  const ContainerPtr container = run({"CMD", "wedged"});

  run_until_status(container, HealthStatus::kUnhealthy);

  EXPECT_EQ(container->state.health->log.back().output,
            "timed out starting health check for container " + container->id);
  std::size_t started = 0;
  for (const Event& event : events()) started += event.action.starts_with("exec_start");
  EXPECT_EQ(started, 1u);
}

TEST_F(HealthMonitorTest, KeepsAtMost4096BytesOfOutput) {
  const ContainerPtr container = run({"CMD", "spew", "1000000"});

  run_until_probed(container);

  EXPECT_EQ(container->state.health->log.front().output, std::string(kHealthOutput, 'x') + "...");
}

TEST_F(HealthMonitorTest, ForgetsItsExecs) {
  const ContainerPtr container = run({"CMD", "true"});

  run_until_probed(container, 2);

  for (const Event& event : events()) {
    if (event.action != "exec_die") continue;
    EXPECT_FALSE(execs_->find(event.attributes.at("execID")));
  }
}

TEST_F(HealthMonitorTest, EndsWithTheContainer) {
  const ContainerPtr container = run({"CMD", "true"});
  run_until_status(container, HealthStatus::kHealthy);

  ASSERT_TRUE(await(containers_->stop(container, 10s)));
  await(health_->drained());

  EXPECT_EQ(health_->watched(), 0u);
  EXPECT_EQ(container->state.health->status, HealthStatus::kUnhealthy);
}

TEST_F(HealthMonitorTest, EndsWithTheContainerInTheMiddleOfAProbe) {
  const ContainerPtr container = run({"CMD", "stubborn"});
  run_until([&] { return !execs_->running_in(*container).empty(); });

  ASSERT_TRUE(await(containers_->remove(container, {.force = true})));
  await(health_->drained());

  EXPECT_TRUE(container->state.health->log.empty());
}

TEST_F(HealthMonitorTest, EndsWithAMachineThatDiesInTheMiddleOfAProbe) {
  const ContainerPtr container = run({"CMD", "stubborn"});
  run_until([&] { return !execs_->running_in(*container).empty(); });

  container->run.machine->kill();
  await(health_->drained());

  EXPECT_TRUE(container->state.health->log.empty());
  EXPECT_EQ(container->state.status, Status::kExited);
}

TEST_F(HealthMonitorTest, BeginsAgainAtEachStart) {
  const ContainerPtr container = run({"CMD", "true"});
  run_until_status(container, HealthStatus::kHealthy);
  ASSERT_TRUE(await(containers_->stop(container, 10s)));

  ASSERT_TRUE(await(containers_->start(container)));

  EXPECT_EQ(container->state.health->status, HealthStatus::kStarting);
  run_until_status(container, HealthStatus::kHealthy);
}

TEST_F(HealthMonitorTest, DoesNotProbeWhatIsPaused) {
  const ContainerPtr container = run({"CMD", "stubborn"});
  run_until([&] { return !execs_->running_in(*container).empty(); });

  container->state.status = Status::kPaused;
  container->changed.notify_all();
  run_until([&] { return execs_->running_in(*container).empty(); });
  settle();

  EXPECT_EQ(container->state.health->status, HealthStatus::kUnhealthy);
  EXPECT_TRUE(container->state.health->log.empty());
  container->state.status = Status::kRunning;
  container->changed.notify_all();
  run_until([&] { return !execs_->running_in(*container).empty(); });
}

TEST_F(HealthMonitorTest, GoesOnWithAContainerThatOutlivedTheDaemon) {
  const ContainerPtr before =
      create({"sleep"}, json::object(),
             {{"Healthcheck", {{"Test", {"CMD", "exit", "1"}}, {"Interval", kMillisecond}}}});
  before->state.status = Status::kRunning;
  before->state.health = Health{.status = HealthStatus::kHealthy,
                                .failing_streak = 1,
                                .log = {{.start = 1, .end = 2, .exit_code = 1, .output = "no"}}};
  ASSERT_TRUE(database_->run("UPDATE containers SET state = ? WHERE id = ?",
                             {to_json_text(before->state), before->id}));
  host_.leave_running(before->id);

  open();

  const ContainerPtr after = *containers_->find(before->id);
  ASSERT_TRUE(after->state.health);
  EXPECT_EQ(after->state.health->status, HealthStatus::kHealthy);
  EXPECT_EQ(after->state.health->log.at(0).output, "no");
  run_until_status(after, HealthStatus::kUnhealthy);
  EXPECT_EQ(after->state.health->failing_streak, 3);
}

}  // namespace
}  // namespace engine
