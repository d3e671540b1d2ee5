// Removals while something hangs: the guest, the monitor, a client, a copy, another request.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "api/engine/containers/container_files.h"
#include "api/engine/containers/containers.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using base::Result;
using nlohmann::json;
using namespace std::chrono_literals;

class RemovalTest : public fakes::EngineFixture {
 protected:
  RemovalTest() {
    patience_.kill = patience_.copy = patience_.volumes = 20ms;
    open();
  }

  ContainerPtr run(std::vector<std::string> command, json host_config = json::object()) {
    const ContainerPtr container = create(std::move(command), std::move(host_config));
    EXPECT_TRUE(await(containers_->start(container)));
    return container;
  }

  Result<void> remove(const ContainerPtr& container, bool force = true) {
    return await(containers_->remove(container, {.force = force, .volumes = false}));
  }

  /// A tool that hangs, of which the answer is the output. It runs when this returns.
  std::shared_ptr<async::BytePipe> copy_that_hangs(const ContainerPtr& container,
                                                   bool changes_files = false) {
    host_.hang_files_tools();
    const int before = host_.files_tools_running();
    auto pipe = start_copy(container, changes_files);
    run_until([&] { return host_.files_tools_running() > before; });
    return pipe;
  }
  std::shared_ptr<async::BytePipe> start_copy(const ContainerPtr& container, bool changes_files) {
    auto pipe = std::make_shared<async::BytePipe>(io_.get_executor());
    containers_->files().start(container, {.command = {"read", "/"},
                                           .changes_files = changes_files,
                                           .output = pipe,
                                           .input = nullptr});
    return pipe;
  }

  /// What a request that is not waited for comes to.
  template <typename T>
  std::shared_ptr<std::optional<T>> begin(net::awaitable<T> request) {
    auto result = std::make_shared<std::optional<T>>();
    net::co_spawn(io_, keep(std::move(request), result), net::detached);
    settle();
    return result;
  }

 private:
  template <typename T>
  static net::awaitable<void> keep(net::awaitable<T> request,
                                   std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(request));
  }
};

TEST_F(RemovalTest, AGuestThatAnswersNothingIsUnplugged) {
  const ContainerPtr container = run({"sleep"});
  host_.trouble().stalled = true;

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(container->removal.done);
}

TEST_F(RemovalTest, AProcessThatNoSignalEndsIsUnplugged) {
  const ContainerPtr container = run({"immortal"});

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(container->removal.done);
}

TEST_F(RemovalTest, AMonitorThatCannotBeKilledIsAnErrorThatMayBeTriedAgain) {
  patience_.plug = 20ms;
  open();
  const ContainerPtr container = run({"immortal"});
  host_.trouble().unkillable = true;

  const auto failed = remove(container);
  host_.trouble().unkillable = false;
  const auto removed = remove(container);

  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("could not kill container"), std::string::npos)
      << failed.error().message;
  EXPECT_TRUE(removed) << removed.error().message;
}

TEST_F(RemovalTest, AStopThatWaitsForEverIsNotWaitedFor) {
  const ContainerPtr container = run({"immortal"});
  const auto stopped = begin(containers_->stop(container, -1s));

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
  run_until([&] { return stopped->has_value(); });
}

TEST_F(RemovalTest, AClientThatReadsNothingKeepsNoContainer) {
  const ContainerPtr container = create({"spew", "10000000"});
  const auto attachment = container->run.process->attach(true, true);
  ASSERT_TRUE(await(containers_->start(container)));
  settle();

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
}

TEST_F(RemovalTest, ACopyThatHangsIsEnded) {
  const ContainerPtr container = create({"true"});
  const auto output = copy_that_hangs(container, /*changes_files=*/true);

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(host_.files_tools_running(), 0);
}

TEST_F(RemovalTest, WithoutForceACopyHasSomeTimeFirst) {
  const ContainerPtr container = create({"true"});
  const auto output = copy_that_hangs(container);

  const auto removed = remove(container, /*force=*/false);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(host_.files_tools_running(), 0);
}

TEST_F(RemovalTest, CopiesThatWaitForTheirTurnAreRefused) {
  const ContainerPtr container = create({"true"});
  const auto first = copy_that_hangs(container);
  const auto second = start_copy(container, false);
  settle();

  ASSERT_TRUE(remove(container));

  const auto answer = await(second->take());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kConflict);
}

TEST_F(RemovalTest, AStartThatHangsIsAbandoned) {
  const ContainerPtr container = create({"wedged"});
  const auto started = begin(containers_->start(container));

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
  run_until([&] { return started->has_value(); });
  EXPECT_FALSE(**started);
  EXPECT_EQ(host_.endpoints_in_use(), 0u);
}

TEST_F(RemovalTest, AStartThatWaitsForAVolumeIsAbandoned) {
  const json volume{{"Mounts", {{{"Type", "volume"}, {"Source", "shared"}, {"Target", "/v"}}}}};
  const ContainerPtr first = create({"true"}, volume);
  const auto output = copy_that_hangs(first);
  const ContainerPtr second = create({"true"}, volume);
  const auto started = begin(containers_->start(second));

  const auto removed = remove(second);

  EXPECT_TRUE(removed) << removed.error().message;
  output->close();
}

TEST_F(RemovalTest, AMachineThatDoesNotWriteBackItsVolumesIsUnpluggedInTime) {
  const json volume{{"Mounts", {{{"Type", "volume"}, {"Source", "kept"}, {"Target", "/v"}}}}};
  const ContainerPtr container = run({"sleep"}, volume);
  host_.trouble().stalled = true;

  const auto removed = remove(container);

  EXPECT_TRUE(removed) << removed.error().message;
}

TEST_F(RemovalTest, AToolOfWhichNobodyReadsIsKilledThoughItSaysNothing) {
  const ContainerPtr stopped = create({"true"});
  const ContainerPtr running = run({"sleep"});
  const auto first = copy_that_hangs(stopped);
  const auto second = copy_that_hangs(running);

  first->close();
  second->close();

  run_until([&] { return host_.files_tools_running() == 0; });
}

TEST_F(RemovalTest, ShuttingDownDoesNotWaitForWhatHangs) {
  const ContainerPtr container = create({"spew", "10000000"}, json::object(), {{"StopTimeout", 0}});
  const auto attachment = container->run.process->attach(true, true);
  ASSERT_TRUE(await(containers_->start(container)));

  await(containers_->shut_down());

  EXPECT_FALSE(container->state.running());
}

}  // namespace
}  // namespace engine
