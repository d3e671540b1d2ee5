#include "images/store/values/changes.h"

#include <gtest/gtest.h>

namespace images {
namespace {

using nlohmann::json;

json applied(const std::vector<std::string>& changes, json config = json::object()) {
  auto result = apply_changes(std::move(config), changes);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return result ? *result : json();
}

TEST(Changes, TakesCommandsInBothForms) {
  EXPECT_EQ(applied({"CMD [\"a\", \"b c\"]"})["Cmd"], json({"a", "b c"}));
  EXPECT_EQ(applied({"entrypoint echo  hi"})["Entrypoint"], json({"/bin/sh", "-c", "echo  hi"}));
  EXPECT_EQ(applied({"CMD [not json"})["Cmd"], json({"/bin/sh", "-c", "[not json"}));
}

TEST(Changes, SetsAndReplacesVariables) {
  const json config = applied({"ENV A=1 B=\"2 3\" C=4\\ 5", "ENV A=6", "ENV D the rest of it"});

  EXPECT_EQ(config["Env"], json({"A=6", "B=2 3", "C=4 5", "D=the rest of it"}));
}

TEST(Changes, ReplacesVariablesAsADockerfileDoes) {
  const json config = applied({"ENV A=$B-${B}-${C:-c}-${B:+b}-\\$B-$ D='$B'", "ENV E $B \"x  y\"",
                               "LABEL l=\"$A\"", "USER $B"},
                              {{"Env", {"B=1"}}});

  EXPECT_EQ(config["Env"], json({"B=1", "A=1-1-c-b-$B-$", "D=$B", "E=1 x  y"}));
  EXPECT_EQ(config["Labels"]["l"], "1-1-c-b-$B-$");
  EXPECT_EQ(config["User"], "1");
}

TEST(Changes, UsesTheImagesShellAndForgetsArgumentsOfAnotherEntrypoint) {
  const json image{{"Shell", {"/bin/bash", "-ec"}}, {"Cmd", {"old"}}};

  EXPECT_EQ(applied({"CMD x y"}, image)["Cmd"], json({"/bin/bash", "-ec", "x y"}));
  EXPECT_FALSE(applied({"ENTRYPOINT x"}, image).contains("Cmd"));
  EXPECT_TRUE(applied({"CMD z", "ENTRYPOINT x"}, image).contains("Cmd"));
}

TEST(Changes, CollectsPortsVolumesLabelsAndTheRest) {
  const json config = applied({"EXPOSE 80 90-91/udp", "VOLUME /a /b", "VOLUME [\"/c d\"]",
                               "LABEL x=1 \"y z\"=2", "USER redis:redis", "STOPSIGNAL SIGQUIT",
                               "WORKDIR /a", "WORKDIR b", "ONBUILD RUN x"});

  EXPECT_EQ(
      config["ExposedPorts"],
      json({{"80/tcp", json::object()}, {"90/udp", json::object()}, {"91/udp", json::object()}}));
  EXPECT_EQ(config["Volumes"].size(), 3u);
  EXPECT_TRUE(config["Volumes"].contains("/c d"));
  EXPECT_EQ(config["Labels"], json({{"x", "1"}, {"y z", "2"}}));
  EXPECT_EQ(config["User"], "redis:redis");
  EXPECT_EQ(config["StopSignal"], "SIGQUIT");
  EXPECT_EQ(config["WorkingDir"], "/a/b");
  EXPECT_EQ(config["OnBuild"], json::array({"RUN x"}));
}

TEST(Changes, ReadsHealthchecks) {
  const json config = applied({"HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f localhost"});

  EXPECT_EQ(config["Healthcheck"]["Test"], json({"CMD-SHELL", "curl -f localhost"}));
  EXPECT_EQ(config["Healthcheck"]["Interval"], 90'000'000'000);
  EXPECT_EQ(config["Healthcheck"]["Retries"], 3);
  EXPECT_EQ(applied({"HEALTHCHECK NONE"})["Healthcheck"]["Test"], json::array({"NONE"}));
}

TEST(Changes, RefusesWhatItCannotApply) {
  for (const char* change :
       {"FROM x", "RUN ls", "CMD", "ENV", "ENV A", "ENV =1", "ENV A=1 B", "ENV A='x", "EXPOSE x",
        "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 80/icmp", "VOLUME []", "LABEL a",
        "HEALTHCHECK --interval=x CMD a", "HEALTHCHECK --what=1 CMD a", "HEALTHCHECK RUN a"}) {
    auto result = apply_changes(json::object(), {change});
    ASSERT_FALSE(result) << change;
    EXPECT_EQ(result.error().code, base::Code::kInvalidArgument);
  }
  EXPECT_EQ(apply_changes(json::object(), {"FROM x"}).error().message,
            "FROM is not a valid change command");
  EXPECT_EQ(apply_changes(json::object(), {" run\tls"}).error().message,
            "run is not a valid change command");
}

}  // namespace
}  // namespace images
