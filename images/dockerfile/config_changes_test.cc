#include "images/dockerfile/config_changes.h"

#include <gtest/gtest.h>

namespace dockerfile {
namespace {

using nlohmann::json;

/// What the history says of the last of the changes.
std::string said(const std::vector<const char*>& changes, json config = json::object(),
                 json* after = nullptr) {
  ConfigChanges applied;
  std::string last;
  for (const char* change : changes) {
    auto instruction = check(*parse_statement(change));
    if (!instruction) return "error: " + instruction.error().message;
    auto expanded_one = expanded(*instruction, '\\', strings_of(config, "Env"));
    if (!expanded_one) return "error: " + expanded_one.error().message;
    auto result = applied.apply(*expanded_one, config);
    if (!result) return "error: " + result.error().message;
    last = *result;
  }
  if (after != nullptr) *after = config;
  return last;
}

TEST(ConfigChanges, AreToldInTheHistoryAsTheClassicBuilderTellsThem) {
  EXPECT_EQ(said({"CMD [\"a\", \"b c\"]"}), "CMD [\"a\" \"b c\"]");
  EXPECT_EQ(said({"CMD echo \"hi\""}), "CMD [\"/bin/sh\" \"-c\" \"echo \\\"hi\\\"\"]");
  EXPECT_EQ(said({"ENTRYPOINT [\"e\"]"}), "ENTRYPOINT [\"e\"]");
  EXPECT_EQ(said({"ENV A=1 B='2 3'"}), "ENV A=1 B=2 3");
  EXPECT_EQ(said({"LABEL a=b 'c d'=e"}), "LABEL a=b c d=e");
  EXPECT_EQ(said({"EXPOSE 80 53/udp"}), "EXPOSE 53/udp 80");
  EXPECT_EQ(said({"EXPOSE 1.2.3.4:80-82:90-92"}), "EXPOSE 1.2.3.4:80-82:90-92");
  EXPECT_EQ(said({"VOLUME /a /b"}), "VOLUME [/a /b]");
  EXPECT_EQ(said({"SHELL [\"/bin/bash\", \"-c\"]"}), "SHELL [/bin/bash -c]");
  EXPECT_EQ(said({"WORKDIR /a", "WORKDIR b/../c"}), "WORKDIR /a/c");
  EXPECT_EQ(said({"ONBUILD RUN x"}), "ONBUILD RUN x");
  EXPECT_EQ(said({"HEALTHCHECK --interval=1m30s --retries=3 CMD true"}),
            "HEALTHCHECK &{[\"CMD-SHELL\" \"true\"] \"1m30s\" \"0s\" \"0s\" \"0s\" '\\x03'}");
  EXPECT_EQ(said({"HEALTHCHECK NONE"}),
            "HEALTHCHECK &{[\"NONE\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}");
}

TEST(ConfigChanges, SplitAPortsVariable) {
  json config;
  EXPECT_EQ(said({"EXPOSE $P"}, {{"Env", {"P=80 443"}}}, &config), "EXPOSE 80 443");
  EXPECT_EQ(config["ExposedPorts"].size(), 2u);
}

TEST(ConfigChanges, ForgetArgumentsOfAnotherEntrypoint) {
  json config;
  said({"ENTRYPOINT x"}, {{"Cmd", {"old"}}}, &config);
  EXPECT_TRUE(config["Cmd"].is_null());
  said({"CMD [\"z\"]", "ENTRYPOINT x"}, {{"Cmd", {"old"}}}, &config);
  EXPECT_EQ(config["Cmd"], json::array({"z"}));
}

}  // namespace
}  // namespace dockerfile
