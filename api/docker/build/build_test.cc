// The builder on fake machines and images.
#include <gtest/gtest.h>

#include "api/docker/testing/api_fixture.h"
#include "guest-init/protocol/files.h"
#include "images/store/testing/tar_builder.h"
#include "vmm/base/wire.h"

namespace docker {
namespace {

namespace files = protocol::files;

class BuildTest : public ApiTest {
 protected:
  BuildTest() {
    images_.keeps_commits = true;
    const wire::Bytes end = wire::frame(files::End{});
    host_.set_files_answer({end.begin(), end.end()});
  }

  /// What the build of this Dockerfile says: its streams, then its error.
  std::string build(const std::string& dockerfile, const std::string& query = "") {
    images::testing::TarBuilder tar;
    tar.file("Dockerfile", dockerfile);
    tar.file("f", "contents");
    FakeExchange exchange("POST", "/build" + query, tar.finish());
    await(router_.serve(exchange));
    status_ = static_cast<int>(exchange.answer.status);
    std::istringstream lines(exchange.answer.body);
    std::string said;
    for (std::string line; std::getline(lines, line);) {
      const json object = json::parse(line);
      said += object.value("stream", "") + object.value("error", "") + object.value("message", "");
    }
    return said;
  }

  int status_ = 0;
};

TEST_F(BuildTest, MakesAnImageOfEachInstructionAndFindsThemAgain) {
  const std::string first = build("FROM busybox\nENV A=1\nRUN [\"echo\", \"hi\"]\n", "?t=x");
  const std::string second = build("FROM busybox\nENV A=1\nRUN [\"echo\", \"hi\"]\n");

  EXPECT_EQ(status_, 200);
  EXPECT_NE(first.find("Step 2/3 : ENV A=1\n ---> Running in "), std::string::npos) << first;
  EXPECT_NE(first.find("hi\n ---> Removed intermediate container "), std::string::npos) << first;
  EXPECT_NE(first.find("Successfully tagged x:latest\n"), std::string::npos) << first;
  EXPECT_EQ(images_.built().size(), 2u);
  EXPECT_NE(second.find(" ---> Using cache\n"), std::string::npos) << second;
  EXPECT_TRUE(containers_->list().empty());
}

TEST_F(BuildTest, EndsWithTheCommandThatFails) {
  const std::string said = build("FROM busybox\nRUN [\"exit\", \"3\"]\n", "?forcerm=1");

  EXPECT_NE(said.find("The command 'exit 3' returned a non-zero code: 3"), std::string::npos)
      << said;
  EXPECT_TRUE(containers_->list().empty());
}

TEST_F(BuildTest, EndsWithItsClientWhereverItIs) {
  host_.hang_files_tools();
  for (const std::string step : {"RUN [\"sleep\"]", "RUN [\"true\"]", "COPY f /"}) {
    images::testing::TarBuilder tar;
    tar.file("Dockerfile", "FROM busybox\n" + step + "\n").file("f", "contents");
    Pending client("POST", "/build", tar.finish());
    begin(client);
    const auto runs = [&] {
      const auto containers = containers_->list();
      return host_.files_tools_running() > 0 ||
             (step.find("sleep") != std::string::npos && !containers.empty() &&
              containers.front()->state.running());
    };
    run_until(runs);

    client.leave();

    run_until([&] { return client.ended && containers_->list().empty(); });
    EXPECT_EQ(host_.files_tools_running(), 0) << step;
  }
}

TEST_F(BuildTest, RefusesBeforeItAnswers) {
  EXPECT_EQ(build("FROM busybox\nFOO"),
            "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)");
  EXPECT_EQ(status_, 400);
  EXPECT_EQ(build("FROM busybox", "?version=2"), "buildkit is not enabled on daemon");
  EXPECT_EQ(build("FROM busybox", "?squash=1"), "squash is only supported with experimental mode");
}

TEST_F(BuildTest, RefusesRemotesThatItDoesNotFetch) {
  for (const auto* repository : {"git://host/x", "git@host:x", "https://host/x.git%23main:sub",
                                 "github.com/owner/x", "ssh://host/x"}) {
    const std::string said = build("", std::string("?remote=") + repository);
    EXPECT_EQ(status_, 501) << repository;
    EXPECT_NE(said.find("building from a repository is not supported"), std::string::npos) << said;
  }
  EXPECT_EQ(build("", "?remote=elsewhere"), "remoteURL (elsewhere) could not be recognized as URL");
  EXPECT_EQ(status_, 400);
  EXPECT_NE(build("", "?remote=http://127.0.0.1:1/x").find("this host's own"), std::string::npos);
  EXPECT_GE(status_, 400);
}

}  // namespace
}  // namespace docker
