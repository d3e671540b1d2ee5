#include "api/engine/images/commit_config.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using nlohmann::json;

const json kContainer = {{"Hostname", "box"},
                         {"Tty", true},
                         {"User", "web"},
                         {"Env", {"PATH=/bin", "COLOUR=blue"}},
                         {"Cmd", {"serve", "-v"}},
                         {"Entrypoint", {"/entry"}},
                         {"WorkingDir", "/srv"},
                         {"Labels", {{"a", "1"}}},
                         {"ExposedPorts", {{"80/tcp", json::object()}}},
                         {"Volumes", nullptr},
                         {"Healthcheck", {{"Test", {"CMD", "true"}}, {"Interval", 7}}},
                         {"StopSignal", "SIGQUIT"}};

json config_of(const json& body, const std::vector<std::string>& changes = {}) {
  auto config = commit_config(kContainer, body, changes);
  EXPECT_TRUE(config) << (config ? "" : config.error().message);
  return config ? *config : json();
}

TEST(CommitConfig, IsTheContainersWithoutWhatOnlyContainersHave) {
  const json config = config_of(nullptr);

  EXPECT_FALSE(config.contains("Hostname"));
  EXPECT_FALSE(config.contains("Tty"));
  EXPECT_EQ(config.at("Env"), kContainer.at("Env"));
  EXPECT_EQ(config.at("Cmd"), kContainer.at("Cmd"));
  EXPECT_EQ(config.at("Entrypoint"), kContainer.at("Entrypoint"));
}

TEST(CommitConfig, TheBodyComesFirstAndTheContainerCompletesIt) {
  const json config = config_of({{"env", {"COLOUR=red", "NEW=1"}},
                                 {"Labels", {{"a", "2"}, {"b", "3"}}},
                                 {"ExposedPorts", {{"81/tcp", json::object()}}},
                                 {"User", "root"},
                                 {"Healthcheck", {{"Interval", 9}}}});

  EXPECT_EQ(config.at("Env"), json({"COLOUR=red", "NEW=1", "PATH=/bin"}));
  EXPECT_EQ(config.at("Labels"), json({{"a", "2"}, {"b", "3"}}));
  EXPECT_EQ(config.at("ExposedPorts").size(), 2u);
  EXPECT_EQ(config.at("User"), "root");
  EXPECT_EQ(config.at("WorkingDir"), "/srv");
  EXPECT_EQ(config.at("Healthcheck").at("Interval"), 9);
  EXPECT_EQ(config.at("Healthcheck").at("Test"), json({"CMD", "true"}));
}

TEST(CommitConfig, AnotherEntrypointDoesNotGetTheOldArguments) {
  EXPECT_FALSE(config_of({{"Entrypoint", {"/other"}}}).contains("Cmd"));
  EXPECT_FALSE(config_of(nullptr, {"ENTRYPOINT [\"/other\"]"}).contains("Cmd"));
  EXPECT_EQ(config_of(nullptr, {"CMD [\"x\"]", "ENTRYPOINT [\"/other\"]"}).at("Cmd"), json({"x"}));
}

TEST(CommitConfig, OtherArgumentsKeepTheEntrypoint) {
  const json config = config_of(nullptr, {"CMD [\"x\"]"});

  EXPECT_EQ(config.at("Cmd"), json({"x"}));
  EXPECT_EQ(config.at("Entrypoint"), kContainer.at("Entrypoint"));
}

TEST(CommitConfig, AppliesChangesToTheContainersVariables) {
  const json config = config_of(nullptr, {"ENV PATH=$PATH:/opt COLOUR='$PATH'", "WORKDIR sub"});

  EXPECT_EQ(config.at("Env"), json({"PATH=/bin:/opt", "COLOUR=$PATH"}));
  EXPECT_EQ(config.at("WorkingDir"), "/srv/sub");
}

TEST(CommitConfig, RefusesWhatIsWrong) {
  const auto refuses = [](const json& body, const std::vector<std::string>& changes) {
    const auto config = commit_config(kContainer, body, changes);
    return !config && config.error().code == base::Code::kInvalidArgument;
  };

  EXPECT_TRUE(refuses(json::array(), {}));
  EXPECT_TRUE(refuses({{"Env", "x"}}, {}));
  EXPECT_TRUE(refuses({{"Cmd", {1}}}, {}));
  EXPECT_TRUE(refuses({{"Labels", {{"a", 1}}}}, {}));
  EXPECT_TRUE(refuses(nullptr, {"RUN x"}));
  EXPECT_TRUE(refuses(nullptr, {"ENV A=${B"}));
}

}  // namespace
}  // namespace engine
