// Builds without a front: typed options in, typed events out, on fake machines and images.
#include "api/engine/build/builds.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <optional>

#include "api/fakes/engine_fixture.h"
#include "guest-init/protocol/files.h"
#include "images/store/testing/tar_builder.h"
#include "vmm/base/wire.h"

namespace engine::build {
namespace {

namespace files = protocol::files;

/// Keeps one word for each event.
class Recorder final : public BuildListener {
 public:
  void tell(const BuildEvent& event) override {
    std::visit([this](const auto& one) { note(one); }, event);
  }
  net::awaitable<void> room() override { co_return; }

  std::string told;

 private:
  void note(const StepBegun& step) {
    told += std::to_string(step.number) + "/" + std::to_string(step.of) + " ";
  }
  void note(const StepEnded&) { told += "ended "; }
  void note(const StageEnded&) { told += "stage "; }
  void note(const CacheHit&) { told += "cached "; }
  void note(const ContainerBegun&) { told += "container "; }
  void note(const ContainerRemoved&) { told += "removed "; }
  void note(const StepOutput& output) { told += "'" + output.text + "' "; }
  void note(const ImageBuilt&) { told += "built "; }
  void note(const ImageTagged& tagged) { told += tagged.name; }
  template <typename Other>
  void note(const Other&) {
    told += "? ";
  }
};

class BuildsTest : public fakes::EngineFixture {
 protected:
  BuildsTest() {
    images_.keeps_commits = true;
    const wire::Bytes end = wire::frame(files::End{});
    host_.set_files_answer({end.begin(), end.end()});
  }

  BuildInput input_of(const std::string& dockerfile) {
    const std::string tar = images::testing::TarBuilder().file("Dockerfile", dockerfile).finish();
    auto file = spool_file(directory_.string());
    EXPECT_TRUE(images::FdSink(file->get()).write(std::as_bytes(std::span(tar))));
    auto input =
        read_input({images_, directory_.string(), "Dockerfile"}, *std::move(file), tar.size(), {});
    EXPECT_TRUE(input) << input.error().message;
    return *std::move(input);
  }

  BuildOutcome build(const std::string& dockerfile, BuildOptions options = {}) {
    recorder_ = std::make_shared<Recorder>();
    return await(builds_.run(std::move(options), input_of(dockerfile), recorder_, {}));
  }

  static net::awaitable<void> keep(net::awaitable<BuildOutcome> run,
                                   std::optional<BuildOutcome>& outcome) {
    outcome.emplace(co_await std::move(run));
  }

  std::shared_ptr<Recorder> recorder_;
  std::unique_ptr<registry::Registries> registries_ = *registry::Registries::make({}, images_);
  async::BlockingPool streams_{4};
  ImageCommits commits_{{.executor = io_.get_executor(),
                         .containers = *containers_,
                         .events = *events_,
                         .images = images_,
                         .pool = pool_,
                         .streams = streams_}};
  Builds builds_{{.executor = io_.get_executor(),
                  .containers = *containers_,
                  .commits = commits_,
                  .events = *events_,
                  .images = images_,
                  .registries = *registries_,
                  .pool = pool_,
                  .transfers = streams_,
                  .spool_directory = directory_.string()}};
};

TEST_F(BuildsTest, TellsWhatHappensInItsOrder) {
  BuildOptions options;
  options.tags = {"x:latest"};

  const BuildOutcome outcome = build("FROM busybox\nENV A=1\nRUN [\"echo\", \"hi\"]\n", options);

  ASSERT_TRUE(outcome.image) << outcome.image.error().message;
  EXPECT_EQ(recorder_->told,
            "1/3 ended 2/3 container removed ended 3/3 container 'hi\n' removed ended stage built "
            "x:latest");
  EXPECT_TRUE(containers_->list().empty());
}

TEST_F(BuildsTest, FindsWhatItHasMade) {
  build("FROM busybox\nENV A=1\n");

  const BuildOutcome outcome = build("FROM busybox\nENV A=1\n");

  ASSERT_TRUE(outcome.image);
  EXPECT_EQ(recorder_->told, "1/2 ended 2/2 cached ended stage built ");
}

TEST_F(BuildsTest, GivesTheExitCodeOfTheCommandThatFailed) {
  const BuildOutcome outcome = build("FROM busybox\nRUN [\"exit\", \"3\"]\n");

  EXPECT_FALSE(outcome.image);
  EXPECT_EQ(outcome.exit_code, 3);
}

TEST_F(BuildsTest, EndsTheOneThatIsNamed) {
  BuildOptions options;
  options.build_id = "mine";
  std::optional<BuildOutcome> outcome;
  auto input = input_of("FROM busybox\nRUN [\"sleep\"]\n");
  auto run = builds_.run(options, std::move(input), std::make_shared<Recorder>(), {});
  net::co_spawn(io_, keep(std::move(run), outcome), [](const std::exception_ptr&) {});
  run_until([&] {
    const auto containers = containers_->list();
    return !containers.empty() && containers.front()->state.running();
  });

  builds_.cancel("another");
  builds_.cancel("mine");

  run_until([&] { return outcome.has_value(); });
  EXPECT_EQ(outcome->image.error().message, "Build cancelled");
  EXPECT_TRUE(containers_->list().empty());
}

}  // namespace
}  // namespace engine::build
