// The API's shapes and texts, through the router, on fake machines.
#include "api/docker/api.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "api/docker/containers/container_json.h"
#include "api/docker/testing/api_fixture.h"

namespace docker {
namespace {

using nlohmann::json;

TEST_F(ApiTest, PingTellsWhatTheClientNeeds) {
  const auto answer = call("GET", "/_ping");

  EXPECT_EQ(answer.body, "OK");
  EXPECT_EQ(answer.headers.get("Builder-Version"), "1");
  EXPECT_NE(fixed_headers().find("Api-Version: 1.51\r\n"), std::string::npos);
}

TEST_F(ApiTest, VersionSaysBothApiVersions) {
  const json version = get("/version");

  EXPECT_EQ(version.at("ApiVersion"), "1.51");
  EXPECT_EQ(version.at("MinAPIVersion"), "1.24");
  EXPECT_EQ(version.at("Os"), "linux");
  EXPECT_EQ(version.at("KernelVersion"), "6.12-fake");
}

TEST_F(ApiTest, InfoCountsContainers) {
  run_over_api({"sleep"});
  create_over_api({{"Image", "busybox"}});

  const json info = get("/info");

  EXPECT_EQ(info.at("Containers"), 2);
  EXPECT_EQ(info.at("ContainersRunning"), 1);
  EXPECT_EQ(info.at("ContainersStopped"), 1);
  EXPECT_EQ(info.at("Images"), 1);
}

TEST_F(ApiTest, CreateAnswersDockersErrors) {
  const json good{{"Image", "busybox"}};
  create_over_api(good, "?name=taken");

  EXPECT_EQ(status("POST", "/containers/create?name=taken", good), 409);
  EXPECT_EQ(status("POST", "/containers/create?name=-bad", good), 400);
  EXPECT_EQ(status("POST", "/containers/create", {{"Image", "nothing"}}), 404);
  EXPECT_EQ(status("POST", "/containers/create"), 400);
  EXPECT_EQ(status("POST", "/containers/create?platform=linux/s390x", good), 404);
  EXPECT_EQ(status("POST", "/containers/create",
                   {{"Image", "busybox"}, {"HostConfig", {{"Binds", {"/a:/b:shared"}}}}}),
            501);
}

TEST_F(ApiTest, InspectHasTheShapeClientsRead) {
  const std::string id = run_over_api({"sleep", "100"});

  const json value = get("/containers/" + id.substr(0, 12) + "/json");

  EXPECT_EQ(value.at("Id"), id);
  EXPECT_EQ(value.at("Path"), "sleep");
  EXPECT_EQ(value.at("Args"), json::array({"100"}));
  EXPECT_EQ(value.at("State").at("Status"), "running");
  EXPECT_EQ(value.at("State").at("Running"), true);
  EXPECT_EQ(value.at("Config").at("Hostname"), id.substr(0, 12));
  EXPECT_EQ(value.at("Config").at("Labels"), (json{{"vendor", "debian"}}));
  EXPECT_EQ(value.at("HostConfig").at("RestartPolicy").at("Name"), "no");
  EXPECT_EQ(value.at("NetworkSettings").at("IPAddress"), "172.17.0.2");
  EXPECT_EQ(value.at("NetworkSettings").at("Networks").at("bridge").at("MacAddress"),
            "02:42:ac:11:00:02");
  EXPECT_TRUE(value.at("LogPath").get<std::string>().ends_with(id + "-json.log"));
}

TEST_F(ApiTest, ListsOnlyRunningContainersUnlessAsked) {
  run_over_api({"sleep"});
  create_over_api({{"Image", "busybox"}, {"Labels", {{"colour", "blue"}}}}, "?name=quiet");

  EXPECT_EQ(get("/containers/json").size(), 1u);
  EXPECT_EQ(get("/containers/json?all=1").size(), 2u);
  EXPECT_EQ(get("/containers/json?limit=1").size(), 1u);
  EXPECT_EQ(get(R"(/containers/json?filters={"status":["created"]})").at(0).at("Names").at(0),
            "/quiet");
  EXPECT_EQ(get(R"(/containers/json?all=1&filters={"label":["colour=blue"]})").size(), 1u);
  EXPECT_EQ(get(R"(/containers/json?all=1&filters={"name":{"^/quiet$":true}})").size(), 1u);
  EXPECT_EQ(status("GET", R"(/containers/json?filters={"nonsense":["x"]})"), 400);
  EXPECT_EQ(status("GET", R"(/containers/json?filters={"status":["nonsense"]})"), 400);
}

TEST_F(ApiTest, AnswersWithDockersStatusForEveryState) {
  const std::string id = run_over_api({"sleep"});
  const std::string at = "/containers/" + id;

  EXPECT_EQ(status("POST", at + "/start"), 304);
  EXPECT_EQ(status("DELETE", at), 409);
  EXPECT_EQ(status("POST", at + "/kill?signal=NONSENSE"), 400);
  EXPECT_EQ(status("POST", at + "/resize?h=10&w=20"), 200);
  EXPECT_EQ(status("POST", at + "/resize?h=x&w=20"), 400);
  EXPECT_EQ(status("POST", at + "/kill"), 204);
  EXPECT_EQ(status("POST", at + "/kill"), 409);
  EXPECT_EQ(status("POST", at + "/stop"), 304);
  EXPECT_EQ(status("POST", at + "/resize?h=10&w=20"), 409);
  EXPECT_EQ(status("DELETE", at), 204);
  EXPECT_EQ(status("DELETE", at), 404);
  EXPECT_EQ(status("GET", at + "/json"), 404);
}

TEST_F(ApiTest, SaysWhichContainerCannotBeKilledAsTheClientNamedIt) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"true"}}}, "?name=here");
  const auto said = [&](std::string_view target) {
    return json::parse(call("POST", target).body).at("message").get<std::string>();
  };

  EXPECT_EQ(said("/containers/gone/kill"), "cannot kill container: gone: No such container: gone");
  EXPECT_EQ(said("/containers/here/kill"),
            "cannot kill container: here: container " + id + " is not running");
  EXPECT_EQ(said("/containers/here/kill?signal=NONSENSE"),
            "cannot kill container: here: invalid signal: NONSENSE");
  EXPECT_EQ(said("/containers/here/resize?h=1&w=1"), "container " + id + " is not running");
  EXPECT_EQ(said("/containers/here/pause"), "container " + id + " is not running");
}

TEST_F(ApiTest, PausedContainersTakeNoExec) {
  const std::string id = run_over_api({"sleep"});
  const std::string at = "/containers/" + id;

  EXPECT_EQ(status("POST", at + "/pause"), 204);
  EXPECT_EQ(status("POST", at + "/pause"), 409);
  EXPECT_EQ(status("POST", at + "/start"), 409);
  EXPECT_EQ(get(at + "/json").at("State").at("Paused"), true);
  EXPECT_EQ(status("POST", at + "/exec", {{"Cmd", {"true"}}}), 409);
  EXPECT_EQ(status("POST", at + "/unpause"), 204);
  EXPECT_EQ(status("POST", at + "/exec", {{"Cmd", {"true"}}}), 201);
}

TEST_F(ApiTest, TopShowsARunningContainersProcesses) {
  const std::string id = run_over_api({"sleep"});

  const json top = get("/containers/" + id + "/top?ps_args=-o%20pid,comm");

  EXPECT_EQ(top.at("Titles"), (json{"PID", "COMMAND"}));
  EXPECT_EQ(top.at("Processes"), (json::array({json{"100", "fake"}})));
  EXPECT_EQ(status("GET", "/containers/" + id + "/top?ps_args=--forest"), 400);
  EXPECT_EQ(status("POST", "/containers/" + id + "/kill"), 204);
  EXPECT_EQ(status("GET", "/containers/" + id + "/top"), 409);
}

TEST_F(ApiTest, StatisticsComeOnceWhenAskedSo) {
  const std::string id = run_over_api({"sleep"});

  const json one = get("/containers/" + id + "/stats?stream=0&one-shot=1");

  EXPECT_EQ(one.at("id"), id);
  EXPECT_EQ(one.at("cpu_stats").at("cpu_usage").at("total_usage"), 1'000'000'000);
  EXPECT_EQ(one.at("memory_stats").at("usage"), 1 << 20);
  EXPECT_EQ(one.at("memory_stats").at("limit"), 512 << 20);
  EXPECT_EQ(one.at("precpu_stats").at("cpu_usage").at("total_usage"), 0);
  EXPECT_EQ(status("GET", "/containers/" + id + "/stats?stream=1&one-shot=1"), 400);
}

TEST_F(ApiTest, StatisticsOfAStoppedContainerAreEmpty) {
  const std::string id = create_over_api({{"Image", "busybox"}});

  const json one = get("/containers/" + id + "/stats?stream=0");

  EXPECT_EQ(one.at("memory_stats"), json::object());
  EXPECT_EQ(one.at("pids_stats"), json::object());
}

TEST_F(ApiTest, UpdateAnswersWithWarnings) {
  const std::string id = create_over_api({{"Image", "busybox"}});

  const auto answer = call("POST", "/containers/" + id + "/update", {{"Memory", 64 << 20}});

  EXPECT_EQ(static_cast<int>(answer.status), 200);
  EXPECT_EQ(json::parse(answer.body), (json{{"Warnings", json::array()}}));
  EXPECT_EQ(get("/containers/" + id + "/json").at("HostConfig").at("Memory"), 64 << 20);
  EXPECT_EQ(status("POST", "/containers/" + id + "/update", {{"Memory", 1}}), 400);
}

TEST_F(ApiTest, AFailedStartSaysWhatTheClientLooksFor) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"/no/such/file"}}});

  const auto answer = call("POST", "/containers/" + id + "/start");

  EXPECT_EQ(static_cast<int>(answer.status), 400);
  EXPECT_NE(answer.body.find("no such file or directory"), std::string::npos);
}

TEST_F(ApiTest, WaitSendsItsHeadBeforeTheExit) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"exit", "5"}}});
  FakeExchange waiting("POST", "/containers/" + id + "/wait?condition=next-exit", "");
  bool ended = false;
  net::co_spawn(io_, router_.serve(waiting), [&](const std::exception_ptr&) { ended = true; });
  settle();
  EXPECT_TRUE(waiting.answered());
  EXPECT_FALSE(ended);

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  run_until([&] { return ended; });

  EXPECT_EQ(json::parse(waiting.answer.body), (json{{"StatusCode", 5}}));
}

TEST_F(ApiTest, LogsAreFramedAndNeedAStream) {
  const std::string id = run_over_api({"err", "oops"});
  await(engine::wait(*containers_->find(id), engine::WaitCondition::kNotRunning, 0));

  const auto answer = call("GET", "/containers/" + id + "/logs?stdout=1&stderr=1");

  EXPECT_EQ(answer.content_type, "application/vnd.docker.multiplexed-stream");
  EXPECT_EQ(answer.body, std::string("\2\0\0\0\0\0\0\5oops\n", 13));
  EXPECT_EQ(call("GET", "/containers/" + id + "/logs?stdout=1").body, "");
  EXPECT_EQ(call("GET", "/containers/" + id + "/logs?stderr=1&tail=0").body, "");
  EXPECT_EQ(status("GET", "/containers/" + id + "/logs"), 400);
}

TEST_F(ApiTest, LogsHaveDetailsAndTimestampsInFrontWhenAsked) {
  const std::string id = create_over_api(
      {{"Image", "busybox"},
       {"Cmd", {"echo", "hi"}},
       {"Labels", {{"team", "a&b c"}}},
       {"HostConfig",
        {{"LogConfig",
          {{"Type", "json-file"}, {"Config", {{"labels", "team"}, {"tag", "t1"}}}}}}}});
  run_again(id);

  const std::string text = call("GET", "/containers/" + id + "/logs?stdout=1&details=1").body;
  const std::string stamped =
      call("GET", "/containers/" + id + "/logs?stdout=1&details=1&timestamps=1").body;

  EXPECT_EQ(text.substr(8), "tag=t1,team=a%26b+c hi\n");
  EXPECT_EQ(stamped.substr(8 + 30), " tag=t1,team=a%26b+c hi\n");
  const std::string plain = run_over_api({"echo", "hi"});
  run_again(plain);
  EXPECT_EQ(call("GET", "/containers/" + plain + "/logs?stdout=1&details=1&tail=1").body.substr(8),
            " hi\n");
}

TEST_F(ApiTest, LogsAreReadOverRotatedFiles) {
  const std::string id = create_over_api(
      {{"Image", "busybox"},
       {"Cmd", {"echo", std::string(1000, 'x')}},
       {"HostConfig",
        {{"LogConfig", {{"Type", ""}, {"Config", {{"max-size", "1k"}, {"max-file", "3"}}}}}}}});
  const std::string log = get("/containers/" + id + "/json").at("LogPath");

  for (int run = 0; run < 4; ++run) run_again(id);

  EXPECT_TRUE(std::filesystem::exists(log + ".3"));
  EXPECT_FALSE(std::filesystem::exists(log + ".1"));
  EXPECT_EQ(call("GET", "/containers/" + id + "/logs?stdout=1").body.size(), 3 * 1009u);
  EXPECT_EQ(call("GET", "/containers/" + id + "/logs?stdout=1&tail=2").body.size(), 2 * 1009u);
  EXPECT_EQ(status("DELETE", "/containers/" + id), 204);
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(log).parent_path()));
}

TEST_F(ApiTest, BadLogOptionsAreRefusedWhereDockerRefusesThem) {
  const auto with = [](const char* name, const char* value) -> json {
    return {{"Image", "busybox"},
            {"HostConfig", {{"LogConfig", {{"Type", "json-file"}, {"Config", {{name, value}}}}}}}};
  };

  const auto unknown = call("POST", "/containers/create", with("color", "red"));
  const std::string id = create_over_api(with("max-size", "much"));
  const auto started = call("POST", "/containers/" + id + "/start");

  EXPECT_EQ(static_cast<int>(unknown.status), 400);
  EXPECT_EQ(json::parse(unknown.body).at("message"),
            "unknown log opt 'color' for json-file log driver");
  EXPECT_EQ(static_cast<int>(started.status), 500);
  EXPECT_EQ(json::parse(started.body).at("message"),
            "failed to create task for container: failed to initialize logging driver: invalid "
            "size: 'much'");
}

TEST_F(ApiTest, LogsTakeDockersForms) {
  const std::string id = run_over_api({"echo", "hi"});
  run_again(id);
  const std::string at = "/containers/" + id + "/logs?stdout=1";
  const std::size_t all = call("GET", at).body.size();
  const std::string later = std::to_string(engine::now_ns() / 1'000'000'000 + 10);

  EXPECT_GT(all, 0u);
  for (const char* everything :
       {"&tail=", "&tail=all", "&tail=-1", "&tail=x", "&since=0", "&until=0", "&since=1.5",
        "&since=-1", "&since=2020-01-01T00:00:00%2B02:00"})
    EXPECT_EQ(call("GET", at + everything).body.size(), all) << everything;
  EXPECT_EQ(call("GET", at + "&tail=%2B1").body.size(), 11u);
  EXPECT_EQ(call("GET", at + "&tail=0").body, "");
  EXPECT_EQ(call("GET", at + "&until=1").body, "");
  EXPECT_EQ(call("GET", at + "&since=" + later + ".000000001").body, "");
  EXPECT_EQ(status("GET", at + "&since=yesterday"), 400);
}

TEST_F(ApiTest, LogsOfAContainerThatNeverRanAreEmpty) {
  const std::string id = create_over_api({{"Image", "busybox"}});

  const auto answer = call("GET", "/containers/" + id + "/logs?stdout=1&follow=1");

  EXPECT_EQ(static_cast<int>(answer.status), 200);
  EXPECT_EQ(answer.body, "");
}

TEST_F(ApiTest, LogsThatAreNotKeptCannotBeRead) {
  const std::string id =
      create_over_api({{"Image", "busybox"}, {"HostConfig", {{"LogConfig", {{"Type", "none"}}}}}});

  const auto answer = call("GET", "/containers/" + id + "/logs?stdout=1");

  EXPECT_EQ(static_cast<int>(answer.status), 501);
  EXPECT_EQ(json::parse(answer.body).at("message"),
            "configured logging driver does not support reading");
  EXPECT_EQ(status("POST", "/containers/" + id + "/attach?logs=1&stdout=1"), 101);
}

TEST_F(ApiTest, FollowedLogsEndWithTheContainer) {
  const std::string id = run_over_api({"sleep"});
  FakeExchange following("GET", "/containers/" + id + "/logs?stdout=1&follow=1", "");
  bool ended = false;
  net::co_spawn(io_, router_.serve(following), [&](const std::exception_ptr&) { ended = true; });
  settle();
  EXPECT_FALSE(ended);

  EXPECT_EQ(status("POST", "/containers/" + id + "/kill"), 204);

  run_until([&] { return ended; });
}

TEST_F(ApiTest, AttachCarriesInputAndOutput) {
  const std::string id = create_over_api(
      {{"Image", "busybox"}, {"Cmd", {"cat"}}, {"OpenStdin", true}, {"StdinOnce", true}});
  FakeExchange attached("POST", "/containers/" + id + "/attach?stream=1&stdin=1&stdout=1", "ping");
  bool ended = false;
  net::co_spawn(io_, router_.serve(attached), [&](const std::exception_ptr&) { ended = true; });
  settle();

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  run_until([&] { return ended; });

  EXPECT_EQ(attached.answer.body, std::string("\1\0\0\0\0\0\0\4ping", 12));
}

TEST_F(ApiTest, SeveralClientsAttachToOneContainer) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"echo", "hi"}}});
  FakeExchange first("POST", "/containers/" + id + "/attach?stream=1&stdout=1", "");
  FakeExchange second("POST", "/containers/" + id + "/attach?stream=1&stdout=1", "");
  int ended = 0;
  for (FakeExchange* client : {&first, &second})
    net::co_spawn(io_, router_.serve(*client), [&](const std::exception_ptr&) { ++ended; });
  settle();

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  run_until([&] { return ended == 2; });

  EXPECT_EQ(first.answer.body, std::string("\1\0\0\0\0\0\0\3hi\n", 11));
  EXPECT_EQ(second.answer.body, first.answer.body);
}

TEST_F(ApiTest, AttachReplaysTheLogAndGoesOnWithoutOverlap) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"echo", "hi"}}});
  run_again(id);
  const std::string replayed = call("POST", "/containers/" + id + "/attach?logs=1&stdout=1").body;
  FakeExchange both("POST", "/containers/" + id + "/attach?logs=1&stream=1&stdout=1", "");
  bool ended = false;
  net::co_spawn(io_, router_.serve(both), [&](const std::exception_ptr&) { ended = true; });
  run_until([&] { return both.answered(); });

  run_again(id);
  run_until([&] { return ended; });

  EXPECT_EQ(replayed.size(), 11u);
  EXPECT_EQ(both.answer.body, replayed + replayed);
}

TEST_F(ApiTest, AttachEndsWithTheInputThatIsNotTheProcesses) {
  const std::string id =
      create_over_api({{"Image", "busybox"}, {"Cmd", {"cat"}}, {"OpenStdin", true}});
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);

  FakeExchange attached("POST", "/containers/" + id + "/attach?stream=1&stdin=1", "ping\n");
  await(router_.serve(attached));

  const engine::ContainerPtr container = *containers_->find(id);
  EXPECT_TRUE(container->state.running());
  run_until([&] { return call("GET", "/containers/" + id + "/logs?stdout=1").body.size() == 13; });
}

TEST_F(ApiTest, TheInputOfAClientThatDiedReachesTheProcessAndEndsThere) {
  const std::string id = create_over_api(
      {{"Image", "busybox"}, {"Cmd", {"cat"}}, {"OpenStdin", true}, {"StdinOnce", true}});
  const engine::ContainerPtr container = *containers_->find(id);
  async::Notifier died(io_.get_executor());
  Pending client("POST", "/containers/" + id + "/attach?stream=1&stdin=1&stdout=1", "ping");
  client.exchange.deaf = client.exchange.cut_off = true;
  client.exchange.stalls = &died;
  begin(client);

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  settle();  // what cat says cannot be sent any more
  EXPECT_TRUE(container->state.running());
  died.notify_all();

  run_until([&] { return client.ended && !container->state.running(); });
  EXPECT_EQ(call("GET", "/containers/" + id + "/logs?stdout=1").body.size(), 12u);
}

TEST_F(ApiTest, AClientThatHungUpDoesNotHoldTheProcessBack) {
  const std::string id = create_over_api({{"Image", "busybox"},
                                          {"Cmd", {"spew", "10000000"}},
                                          {"OpenStdin", true},
                                          {"StdinOnce", true}});
  const engine::ContainerPtr container = *containers_->find(id);
  async::Notifier more_input(io_.get_executor());
  async::Notifier room(io_.get_executor());
  async::Notifier hangs_up(io_.get_executor());
  Pending client("POST", "/containers/" + id + "/attach?stream=1&stdin=1&stdout=1", "");
  client.exchange.stalls = &more_input;
  client.exchange.takes_nothing = &room;
  client.exchange.hangs_up = &hangs_up;
  begin(client);
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  settle();
  EXPECT_TRUE(container->state.running());

  hangs_up.notify_all();

  run_until([&] { return client.ended && !container->state.running(); });
}

TEST_F(ApiTest, TheInputOfAnExecEndsWithItsClient) {
  const std::string id = run_over_api({"sleep"});
  const auto created = call("POST", "/containers/" + id + "/exec",
                            {{"Cmd", {"cat"}}, {"AttachStdin", true}, {"AttachStdout", true}});
  const std::string exec = json::parse(created.body).at("Id");
  async::Notifier died(io_.get_executor());
  Pending client("POST", "/exec/" + exec + "/start", "{}");
  client.exchange.deaf = client.exchange.cut_off = true;
  begin(client);

  run_until([&] { return get("/exec/" + exec + "/json").at("Running") == false; });

  EXPECT_TRUE((*containers_->find(id))->state.running());
}

TEST_F(ApiTest, WhatReadsFilesEndsWithItsClient) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"true"}}});
  host_.hang_files_tools();
  for (const std::string path : {"/archive?path=/etc", "/export", "/changes"}) {
    Pending client("GET", "/containers/" + id + path, "");
    begin(client);
    run_until([&] { return host_.files_tools_running() == 1; });

    client.leave();

    run_until([&] { return client.ended && host_.files_tools_running() == 0; });
  }
}

TEST_F(ApiTest, DetachKeysLeaveATerminalRunning) {
  const std::string id =
      create_over_api({{"Image", "busybox"}, {"Cmd", {"cat"}}, {"OpenStdin", true}, {"Tty", true}});
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);

  FakeExchange attached("POST",
                        "/containers/" + id + "/attach?stream=1&stdin=1&detachKeys=a,ctrl-b",
                        "xa\x02 dropped");
  await(router_.serve(attached));

  EXPECT_TRUE((*containers_->find(id))->state.running());
  EXPECT_NE(events_in(R"({"event":["detach"]})").find(id), std::string::npos);
}

TEST_F(ApiTest, AttachIsRefusedInDockersWords) {
  const std::string id = run_over_api({"sleep"});
  const std::string at = "/containers/" + id + "/attach?stream=1";
  const engine::ContainerPtr container = *containers_->find(id);

  const auto keys = call("POST", at + "&detachKeys=ctrl-");
  container->state.status = engine::Status::kPaused;
  const auto paused = call("POST", at);
  container->state.status = engine::Status::kRunning;

  EXPECT_EQ(static_cast<int>(keys.status), 400);
  EXPECT_EQ(keys.body, "Invalid detach keys (ctrl-) provided\r\n");
  EXPECT_EQ(static_cast<int>(paused.status), 409);
  EXPECT_EQ(paused.body, "container " + id + " is paused, unpause the container before attach\r\n");
}

TEST_F(ApiTest, AWebsocketCarriesOutputWithoutFrames) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"err", "oops"}}});
  // Before 1.42 the streams were not chosen, before 1.28 messages were text.
  FakeExchange now("GET", "/containers/" + id + "/attach/ws?stream=1&stdout=1", "");
  FakeExchange once("GET", "/v1.41/containers/" + id + "/attach/ws?stream=1&stdout=1", "");
  FakeExchange oldest("GET", "/v1.24/containers/" + id + "/attach/ws?stream=1&stderr=1", "");
  int ended = 0;
  for (FakeExchange* client : {&now, &once, &oldest})
    net::co_spawn(io_, router_.serve(*client), [&](const std::exception_ptr&) { ++ended; });
  settle();

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  run_until([&] { return ended == 3; });

  EXPECT_EQ(now.answer.content_type, "binary messages");
  EXPECT_EQ(now.answer.body, "");
  EXPECT_EQ(once.answer.body, "oops\n");
  EXPECT_EQ(oldest.answer.content_type, "text messages");
  EXPECT_EQ(status("GET", "/containers/nothing/attach/ws?stream=1"), 404);
}

TEST_F(ApiTest, ExecRunsAFurtherProcess) {
  const std::string id = run_over_api({"sleep"});
  const auto created = call("POST", "/containers/" + id + "/exec",
                            {{"Cmd", {"echo", "more"}}, {"AttachStdout", true}});
  const std::string exec = json::parse(created.body).at("Id");

  const auto answer = call("POST", "/exec/" + exec + "/start", {{"Detach", false}});

  EXPECT_EQ(answer.body, std::string("\1\0\0\0\0\0\0\5more\n", 13));
  run_until([&] { return get("/exec/" + exec + "/json").at("Running") == false; });
  EXPECT_EQ(get("/exec/" + exec + "/json").at("ExitCode"), 0);
  EXPECT_EQ(status("POST", "/exec/" + exec + "/start", {{"Detach", false}}), 409);
}

TEST_F(ApiTest, AnExecsStreamsAreSentAsItsStartAsks) {
  const std::string id = run_over_api({"sleep"});
  const auto run = [&](const json& start) {
    const auto created = call("POST", "/containers/" + id + "/exec",
                              {{"cmd", {"echo", "more"}}, {"attachstdout", true}, {"TTY", true}});
    const std::string exec = json::parse(created.body).at("Id");
    return call("POST", "/exec/" + exec + "/start", start);
  };

  EXPECT_EQ(run({{"tty", true}}).body, "more\n");
  EXPECT_EQ(run({{"Tty", true}}).content_type, "application/vnd.docker.raw-stream");
  EXPECT_EQ(run(json::object()).body, std::string("\1\0\0\0\0\0\0\5more\n", 13));
  EXPECT_EQ(run({{"Tty", 1}}).status, http::Status::kBadRequest);
  EXPECT_EQ(run({{"Detach", "yes"}}).status, http::Status::kBadRequest);
}

TEST_F(ApiTest, ExecEventsNameTheCommandAsDockerDoes) {
  const std::string id = run_over_api({"sleep"});

  call("POST", "/containers/" + id + "/exec", {{"Cmd", {"true"}}});
  call("POST", "/containers/" + id + "/exec", {{"Cmd", {"echo", "a", "b"}}});

  const std::string until = std::to_string(engine::now_ns() / 1'000'000'000 + 1);
  const std::string text =
      call("GET", R"(/events?since=1&filters={"event":["exec_create"]}&until=)" + until).body;
  EXPECT_EQ(json::parse(text.substr(0, text.find('\n'))).at("Action"), "exec_create: true ");
  EXPECT_NE(text.find("\"exec_create: echo a b\""), std::string::npos);
}

TEST_F(ApiTest, ExecOfAMissingCommandEndsWith127) {
  const std::string id = run_over_api({"sleep"});
  const auto created = call("POST", "/containers/" + id + "/exec",
                            {{"Cmd", {"no-such-command"}}, {"AttachStdout", true}});
  const std::string exec = json::parse(created.body).at("Id");

  const auto answer = call("POST", "/exec/" + exec + "/start", json::object());

  EXPECT_NE(answer.body.find("executable file not found"), std::string::npos);
  EXPECT_EQ(get("/exec/" + exec + "/json").at("ExitCode"), 127);
}

TEST_F(ApiTest, AnExecsRequestIsTakenOrRefusedWhole) {
  const std::string id = run_over_api({"sleep"});
  const auto create = [&](json body) {
    body["Cmd"] = {"true"};
    return status("POST", "/containers/" + id + "/exec", body);
  };

  EXPECT_EQ(create({{"ConsoleSize", {24, 80}}, {"Detach", true}}), 201);
  EXPECT_EQ(create({{"ConsoleSize", {24, 70000}}}), 400);
  EXPECT_EQ(create({{"Env", {1}}}), 400);
  EXPECT_EQ(create({{"Gadget", 1}}), 501);
  EXPECT_EQ(status("POST", "/exec/none/resize?h=1&w=1"), 404);
}

TEST_F(ApiTest, AnExecsTerminalHasTheSizeThatItWasCreatedWith) {
  const std::string id = run_over_api({"sleep"});
  const auto run = [&](const json& start) {
    const auto created = call(
        "POST", "/containers/" + id + "/exec",
        {{"Cmd", {"size"}}, {"AttachStdout", true}, {"Tty", true}, {"ConsoleSize", {30, 100}}});
    const std::string exec = json::parse(created.body).at("Id");
    return call("POST", "/exec/" + exec + "/start", start).body;
  };

  EXPECT_EQ(run({{"Tty", true}}), "30 100\n");
  EXPECT_EQ(run({{"Tty", true}, {"ConsoleSize", {5, 6}}}), "5 6\n");
}

TEST_F(ApiTest, ABodyOfAStartIsRefusedAsDockerDoes) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"true"}}});

  EXPECT_EQ(status("POST", "/containers/" + id + "/start", {{"Memory", 1 << 30}}), 400);
  EXPECT_EQ(status("POST", "/containers/" + id + "/start?checkpoint=x"), 400);
  EXPECT_EQ(status("POST", "/containers/" + id + "/start", json::object()), 204);
}

TEST_F(ApiTest, ExecNeedsARunningContainer) {
  const std::string id = create_over_api({{"Image", "busybox"}});

  EXPECT_EQ(status("POST", "/containers/" + id + "/exec", {{"Cmd", {"true"}}}), 409);
  EXPECT_EQ(status("POST", "/exec/nothing/start", json::object()), 404);
}

TEST_F(ApiTest, AttachToNothingIs404AsText) {
  const auto answer = call("POST", "/containers/nothing/attach?stream=1");

  EXPECT_EQ(static_cast<int>(answer.status), 404);
  EXPECT_EQ(answer.body, "No such container: nothing\r\n");
}

TEST_F(ApiTest, EventsAreFilteredAndEndAtUntil) {
  const std::string id = run_over_api({"sleep"});
  const std::string until = std::to_string(engine::now_ns() / 1'000'000'000 + 1);

  const std::string text =
      call("GET", R"(/events?since=1&filters={"event":["start"]}&until=)" + until).body;

  const json event = json::parse(text);
  EXPECT_EQ(event.at("Action"), "start");
  EXPECT_EQ(event.at("Actor").at("ID"), id);
  EXPECT_EQ(event.at("Actor").at("Attributes").at("image"), "busybox");
  EXPECT_EQ(event.at("from"), "busybox");
}

TEST_F(ApiTest, ShowsTheHealthOfAContainer) {
  const std::string id = create_over_api(
      {{"Image", "busybox"},
       {"Cmd", {"sleep"}},
       {"Healthcheck", {{"Test", {"CMD", "echo", "fine"}}, {"Interval", 1'000'000}}}});
  const std::string at = "/containers/" + id + "/json";
  EXPECT_FALSE(get(at).at("State").contains("Health"));
  EXPECT_EQ(get(at).at("Config").at("Healthcheck"),
            (json{{"Test", {"CMD", "echo", "fine"}}, {"Interval", 1'000'000}}));

  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const json starting = get(at).at("State").at("Health");
  run_until([&] { return get(at).at("State").at("Health").at("Status") == "healthy"; });

  EXPECT_EQ(starting, (json{{"Status", "starting"}, {"FailingStreak", 0}, {"Log", json::array()}}));
  const json result = get(at).at("State").at("Health").at("Log").at(0);
  EXPECT_EQ(result.at("ExitCode"), 0);
  EXPECT_EQ(result.at("Output"), "fine\n");
  EXPECT_TRUE(result.at("Start").get<std::string>().ends_with("Z"));
  const std::string text = get("/containers/json").at(0).at("Status");
  EXPECT_TRUE(text.ends_with(" (healthy)")) << text;
}

TEST_F(ApiTest, FiltersByHealth) {
  run_over_api({"sleep"});
  const std::string checked = create_over_api({{"Image", "busybox"},
                                               {"Cmd", {"sleep"}},
                                               {"Healthcheck", {{"Test", {"CMD-SHELL", "true"}}}}});
  EXPECT_EQ(status("POST", "/containers/" + checked + "/start"), 204);

  const json starting = get(R"(/containers/json?filters={"health":["starting"]})");

  ASSERT_EQ(starting.size(), 1u);
  EXPECT_EQ(starting.at(0).at("Id"), checked);
  EXPECT_EQ(get(R"(/containers/json?filters={"health":["none"]})").size(), 1u);
  EXPECT_EQ(get(R"(/containers/json?filters={"health":["healthy"]})").size(), 0u);
  EXPECT_EQ(status("GET", R"(/containers/json?filters={"health":["ill"]})"), 400);
}

TEST_F(ApiTest, HealthEventsAreFoundByTheirName) {
  const std::string id =
      create_over_api({{"Image", "busybox"},
                       {"Cmd", {"sleep"}},
                       {"Healthcheck", {{"Test", {"CMD", "true"}}, {"Interval", 1'000'000}}}});
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
  const auto container = *containers_->find(id);
  run_until([&] { return container->state.health->status == engine::HealthStatus::kHealthy; });

  const std::string text =
      call("GET", R"(/events?since=1&filters={"event":["health_status"]}&until=)" +
                      std::to_string(engine::now_ns() / 1'000'000'000 + 1))
          .body;

  EXPECT_EQ(json::parse(text).at("Action"), "health_status: healthy");
}

TEST_F(ApiTest, AWrongHealthcheckIsRefusedOrWarnedOf) {
  const auto create = [&](json check) {
    return call("POST", "/containers/create",
                {{"Image", "busybox"}, {"Healthcheck", std::move(check)}});
  };

  const auto refused = create({{"Timeout", 1}});
  const auto warned = create({{"Test", {"SHELL", "true"}}});

  EXPECT_EQ(static_cast<int>(refused.status), 400);
  EXPECT_EQ(json::parse(refused.body).at("message"),
            "Timeout in Healthcheck cannot be less than 1ms");
  EXPECT_EQ(json::parse(warned.body).at("Warnings").size(), 1u);
}

TEST(StatusText, NamesTheHealthOfWhatRuns) {
  engine::ContainerState state;
  state.status = engine::Status::kRunning;
  state.health.emplace();

  const std::string starting = status_text(state, 0);
  state.health->status = engine::HealthStatus::kUnhealthy;
  const std::string unhealthy = status_text(state, 0);
  state.status = engine::Status::kPaused;
  const std::string paused = status_text(state, 0);

  EXPECT_EQ(starting, "Up Less than a second (health: starting)");
  EXPECT_EQ(unhealthy, "Up Less than a second (unhealthy)");
  EXPECT_EQ(paused, "Up Less than a second (Paused)");
}

TEST_F(ApiTest, EventsAreFilteredAsDockerFilters) {
  const std::string id = create_over_api(
      {{"Image", "busybox:latest"}, {"Cmd", {"sleep"}}, {"Labels", {{"a", "b"}}}}, "?name=web1");
  EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);

  EXPECT_EQ(actions_in(R"({"container":["web"]})"), "create start ");
  EXPECT_EQ(actions_in("{\"container\":[\"" + id.substr(0, 4) + "\"]}"), "create start ");
  EXPECT_EQ(actions_in(R"({"image":["busybox"],"event":["start"]})"), "start ");
  EXPECT_EQ(actions_in(R"({"image":["busy"]})"), "");
  EXPECT_EQ(actions_in(R"({"label":["a=b"]})"), "create start ");
  EXPECT_EQ(actions_in(R"({"type":["network"]})"), "connect ");
  EXPECT_EQ(actions_in(R"({"event":["st"]})"), "");
}

TEST_F(ApiTest, EventsOfThePastNeedOnlyAnUntil) {
  run_over_api({"sleep"});

  const std::string text =
      call("GET", "/events?until=" + std::to_string(engine::now_ns() / 1'000'000'000 + 1)).body;
  const auto none = call("GET", "/events?until=1");
  const auto reversed = call("GET", "/events?since=9&until=8");

  EXPECT_NE(text.find("\"start\""), std::string::npos);
  EXPECT_EQ(none.body, "");
  EXPECT_EQ(static_cast<int>(reversed.status), 400);
  EXPECT_EQ(json::parse(reversed.body).at("message"),
            "`since` time (9) cannot be after `until` time (8)");
}

TEST_F(ApiTest, AnswersForWhatThisHostDoesNotHave) {
  EXPECT_EQ(status("GET", "/swarm"), 503);
  EXPECT_EQ(status("GET", "/services"), 503);
  EXPECT_EQ(status("POST", "/swarm/leave"), 503);
  EXPECT_EQ(get("/plugins"), json::array());
  EXPECT_EQ(get("/networks").size(), 2u);
  EXPECT_EQ(get("/networks/bridge").at("IPAM").at("Config").at(0).at("Subnet"), "172.17.0.0/16");
  EXPECT_EQ(status("DELETE", "/networks/bridge"), 403);
  EXPECT_EQ(status("PUT", "/volumes/x"), 503);
  EXPECT_EQ(status("GET", "/nothing"), 404);
}

TEST_F(ApiTest, VolumesAreMadeShownAndRemoved) {
  const json made = json::parse(call("POST", "/volumes/create",
                                     {{"Name", "data"},
                                      {"Driver", ""},
                                      {"DriverOpts", json::object()},
                                      {"Labels", {{"a", "b"}}}})
                                    .body);
  const json anonymous = json::parse(call("POST", "/volumes/create", json::object()).body);
  create_over_api({{"Image", "busybox"}, {"HostConfig", {{"Binds", {"data:/x"}}}}});

  EXPECT_EQ(made.at("Name"), "data");
  EXPECT_EQ(made.at("Driver"), "local");
  EXPECT_EQ(made.at("Scope"), "local");
  EXPECT_EQ(made.at("Labels"), (json{{"a", "b"}}));
  EXPECT_EQ(made.at("Options"), nullptr);
  EXPECT_EQ(get("/volumes/data"), made);
  EXPECT_EQ(get("/volumes").at("Volumes").size(), 2u);
  const auto names = [&](const std::string& filters) {
    std::string text;
    const json answer = get("/volumes?filters=" + filters);
    for (const json& row : answer.at("Volumes"))
      text += row.at("Name").get<std::string>().substr(0, 8) + " ";
    return text;
  };
  const std::string other = anonymous.at("Name").get<std::string>().substr(0, 8) + " ";
  EXPECT_EQ(names(R"({"dangling":["true"]})"), other);
  EXPECT_EQ(names(R"({"dangling":["0"]})"), "data ");
  EXPECT_EQ(names(R"({"label":["a=b"]})"), "data ");
  EXPECT_EQ(names(R"({"name":["at"]})"), "data ");
  EXPECT_EQ(names(R"({"driver":["nfs"]})"), "");
  const json usage = get("/system/df").at("Volumes");
  ASSERT_EQ(usage.size(), 2u);
  for (const json& row : usage)
    EXPECT_EQ(row.at("UsageData").at("RefCount"), row.at("Name") == "data" ? 1 : 0);

  EXPECT_EQ(status("DELETE", "/volumes/data"), 409);
  EXPECT_EQ(status("DELETE", "/volumes/other"), 404);
  EXPECT_EQ(status("DELETE", "/volumes/other?force=1"), 204);
  EXPECT_EQ(status("DELETE", "/volumes/" + anonymous.at("Name").get<std::string>()), 204);
}

TEST_F(ApiTest, VolumesAreRefusedWithASentence) {
  for (const auto& [body, code] :
       {std::pair{json{{"Name", "a/b"}}, 400}, std::pair{json{{"Name", 7}}, 400},
        std::pair{json{{"Labels", {{"a", 1}}}}, 400},
        std::pair{json{{"DriverOpts", {{"size", "x"}}}}, 400},
        std::pair{json{{"DriverOpts", {{"type", "nfs"}}}}, 400},
        std::pair{json{{"DriverOpts", {{"type", "nfs"}, {"device", ":/x"}, {"o", "addr=x"}}}}, 501},
        std::pair{json{{"Driver", "nfs"}}, 404},
        std::pair{json{{"ClusterVolumeSpec", json::object()}}, 501}, std::pair{json::array(), 400}})
    EXPECT_EQ(status("POST", "/volumes/create", body), code) << body;
}

TEST_F(ApiTest, VolumesThatAreDirectoriesOfClientsAreShownAndNotMeasured) {
  const json options{{"type", "none"}, {"device", "/srv"}, {"o", "bind"}};
  const json made = json::parse(
      call("POST", "/volumes/create", {{"Name", "data"}, {"DriverOpts", options}}).body);

  EXPECT_EQ(made.at("Options"), options);
  EXPECT_TRUE(made.at("Mountpoint").get<std::string>().ends_with("/data/_data"));
  EXPECT_EQ(get("/volumes/data"), made);
  EXPECT_EQ(get("/system/df").at("Volumes"), json::array());
  const json pruned = json::parse(call("POST", R"(/volumes/prune?filters={"all":["true"]})").body);
  EXPECT_EQ(pruned.at("VolumesDeleted"), json::array({"data"}));
  EXPECT_EQ(pruned.at("SpaceReclaimed"), 0);
}

TEST_F(ApiTest, PruningKeepsVolumesWithANameUnlessAsked) {
  call("POST", "/volumes/create", {{"Name", "named"}});
  call("POST", "/volumes/create", {{"Name", "kept"}, {"Labels", {{"keep", ""}}}});
  const std::string anonymous =
      json::parse(call("POST", "/volumes/create", json::object()).body).at("Name");
  const auto prune = [&](const std::string& target) {
    return json::parse(call("POST", target).body).at("VolumesDeleted");
  };

  EXPECT_EQ(prune("/volumes/prune"), json::array({anonymous}));
  EXPECT_EQ(prune("/volumes/prune"), nullptr);
  EXPECT_EQ(prune(R"(/volumes/prune?filters={"all":["true"],"label!":["keep"]})"),
            json::array({"named"}));
  EXPECT_EQ(prune("/v1.41/volumes/prune"), json::array({"kept"}));
}

TEST_F(ApiTest, InspectAndListShowVolumes) {
  const std::string id =
      create_over_api({{"Image", "busybox"}, {"HostConfig", {{"Binds", {"data:/x:ro"}}}}});

  const json mounts = get("/containers/" + id + "/json").at("Mounts");

  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].at("Type"), "volume");
  EXPECT_EQ(mounts[0].at("Name"), "data");
  EXPECT_EQ(mounts[0].at("Destination"), "/x");
  EXPECT_EQ(mounts[0].at("Mode"), "ro");
  EXPECT_EQ(mounts[0].at("RW"), false);
  EXPECT_EQ(get(R"(/containers/json?all=1&filters={"volume":["data"]})").at(0).at("Mounts"),
            mounts);
  EXPECT_EQ(get(R"(/containers/json?all=1&filters={"volume":["/x"]})").size(), 1u);
  EXPECT_EQ(get(R"(/containers/json?all=1&filters={"volume":["other"]})").size(), 0u);
}

TEST(HumanDuration, IsAsRoughAsDockers) {
  constexpr engine::TimeNs kSecond = 1'000'000'000;
  EXPECT_EQ(human_duration(0), "Less than a second");
  EXPECT_EQ(human_duration(kSecond), "1 second");
  EXPECT_EQ(human_duration(59 * kSecond), "59 seconds");
  EXPECT_EQ(human_duration(60 * kSecond), "About a minute");
  EXPECT_EQ(human_duration(60 * 60 * kSecond), "About an hour");
  EXPECT_EQ(human_duration(3 * 24 * 3600 * kSecond), "3 days");
}

TEST_F(ApiTest, NeitherCreatesNorStartsWhatThePolicyRejects) {
  const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", {"true"}}});
  images_.reject_images("Source image rejected: A signature was required");

  const auto created = call("POST", "/containers/create", {{"Image", "busybox"}});
  const auto started = call("POST", "/containers/" + id + "/start");

  for (const auto& answer : {created, started}) {
    EXPECT_EQ(static_cast<int>(answer.status), 403);
    EXPECT_EQ(json::parse(answer.body)["message"],
              "Source image rejected: A signature was required");
  }
  EXPECT_EQ(get("/containers/json").size(), 0u);
}

}  // namespace
}  // namespace docker
