// POST /commit and GET .../changes, on fake machines and images.
#include <gtest/gtest.h>

#include "api/docker/testing/api_fixture.h"
#include "guest-init/protocol/files.h"

namespace docker {
namespace {

namespace files = protocol::files;

template <typename... M>
std::vector<std::byte> frames_of(const M&... messages) {
  std::vector<std::byte> all;
  const auto add = [&](const auto& message) {
    const wire::Bytes bytes = wire::frame(message);
    all.insert(all.end(), bytes.begin(), bytes.end());
  };
  (add(messages), ...);
  return all;
}

files::Entry entry(std::string path, files::EntryKind kind) {
  files::Entry result;
  result.path = std::move(path);
  result.kind = kind;
  result.mode = 0755;
  return result;
}

class CommitTest : public ApiTest {
 protected:
  std::string message(const http::Response& response) {
    return json::parse(response.body).value("message", "");
  }
  json ids_of(const std::string& path) { return json::parse(call("POST", path).body); }
};

TEST_F(CommitTest, ListsChangesOfRunningAndOtherContainers) {
  const std::string id = run_over_api({"sleep"});
  const std::string stopped = create_over_api({{"Image", "busybox"}, {"Cmd", {"true"}}});
  host_.set_files_answer(
      frames_of(files::Change{.path = "etc", .kind = files::ChangeKind::kModified}, files::End{}));

  const json expected = json::array({{{"Path", "/etc"}, {"Kind", 0}}});
  EXPECT_EQ(get("/containers/" + id + "/changes"), expected);
  EXPECT_EQ(get("/containers/" + stopped + "/changes"), expected);
  EXPECT_EQ(status("GET", "/containers/none/changes"), 404);
}

TEST_F(CommitTest, BreaksAListOffThatTheGuestDoesNotFinish) {
  const std::string id = run_over_api({"sleep"});
  const files::Change change{.path = "etc", .kind = files::ChangeKind::kModified};
  host_.set_files_answer(frames_of(change, files::Failed{.kind = {}, .message = "broken"}));

  FakeExchange exchange("GET", "/containers/" + id + "/changes", "");
  await(router_.serve(exchange));
  host_.set_files_answer(frames_of(files::Failed{.kind = {}, .message = "broken"}));
  const auto at_once = call("GET", "/containers/" + id + "/changes");

  EXPECT_TRUE(exchange.broken_off);
  EXPECT_EQ(static_cast<int>(at_once.status), 500);
  EXPECT_EQ(message(at_once), "broken");
}

TEST_F(CommitTest, MakesALayerOfTheChanges) {
  const std::string id = run_over_api({"sleep"});
  host_.set_files_answer(frames_of(entry("d", files::EntryKind::kDirectory),
                                   entry("d/gone", files::EntryKind::kWhiteout), files::End{}));

  const auto answer =
      call("POST", "/commit?container=" + id +
                       "&repo=new&tag=one&author=me&comment=why&changes=USER%20web");

  EXPECT_EQ(static_cast<int>(answer.status), 201);
  EXPECT_EQ(json::parse(answer.body).at("Id"), fakes::FakeImageStore::kCommittedId);
  ASSERT_TRUE(images_.committed());
  EXPECT_EQ(images_.committed()->repository_and_tag, "new:one");
  EXPECT_EQ(images_.committed()->parent, fakes::FakeImageStore::kImageId);
  EXPECT_EQ(images_.committed()->created_by, "sleep");
  EXPECT_EQ(images_.committed()->comment, "why");
  EXPECT_EQ(json::parse(images_.committed()->config).at("User"), "web");
  EXPECT_NE(images_.committed_layer().find("d/.wh.gone"), std::string::npos);
  EXPECT_EQ(actions_in(R"({"event":["commit","tag","pause","unpause"]})"),
            "pause unpause tag commit ");
}

TEST_F(CommitTest, PausesForAsLongAsTheFilesAreRead) {
  const std::string id = run_over_api({"sleep"});
  host_.set_files_answer(frames_of(files::End{}));

  EXPECT_EQ(status("POST", "/commit?container=" + id), 201);
  EXPECT_TRUE(host_.files_were_frozen());
  EXPECT_EQ((*containers_->find(id))->state.status, engine::Status::kRunning);

  EXPECT_EQ(status("POST", "/commit?pause=0&container=" + id), 201);
  EXPECT_FALSE(host_.files_were_frozen());
}

TEST_F(CommitTest, LeavesAContainerPausedThatAPersonPaused) {
  const std::string id = run_over_api({"sleep"});
  EXPECT_EQ(status("POST", "/containers/" + id + "/pause"), 204);
  host_.set_files_answer(frames_of(files::End{}));

  EXPECT_EQ(status("POST", "/commit?container=" + id), 201);

  EXPECT_EQ((*containers_->find(id))->state.status, engine::Status::kPaused);
}

TEST_F(CommitTest, FailsWholeWhenTheFilesCannotBeRead) {
  const std::string id = run_over_api({"sleep"});
  host_.set_files_answer(frames_of(entry("d", files::EntryKind::kDirectory),
                                   files::Failed{.kind = {}, .message = "broken"}));

  const auto failed = call("POST", "/commit?repo=x&container=" + id);
  host_.set_files_answer(frames_of(entry("d", files::EntryKind::kDirectory)));
  const auto cut_off = call("POST", "/commit?repo=x&container=" + id);

  EXPECT_EQ(static_cast<int>(failed.status), 500);
  EXPECT_EQ(message(failed), "broken");
  EXPECT_EQ(static_cast<int>(cut_off.status), 503);
  EXPECT_FALSE(images_.committed());
  EXPECT_EQ((*containers_->find(id))->state.status, engine::Status::kRunning);
}

TEST_F(CommitTest, EndsInOrderWithItsClient) {
  const std::string id = run_over_api({"sleep"});
  host_.hang_files_tools();
  Pending client("POST", "/commit?repo=x&container=" + id, "");
  begin(client);
  run_until([&] { return host_.files_tools_running() == 1; });
  EXPECT_EQ((*containers_->find(id))->state.status, engine::Status::kPaused);

  client.leave();

  run_until([&] { return client.ended && host_.files_tools_running() == 0; });
  EXPECT_FALSE(images_.committed());
  EXPECT_EQ((*containers_->find(id))->state.status, engine::Status::kRunning);
}

TEST_F(CommitTest, RefusesBeforeAnyWork) {
  const std::string id = run_over_api({"sleep"});
  const auto refused = [&](const std::string& query, const json& body = nullptr) {
    return status("POST", "/commit?container=" + id + query, body);
  };

  EXPECT_EQ(status("POST", "/commit?container=none"), 404);
  EXPECT_EQ(refused("&repo=Not%20valid"), 400);
  EXPECT_EQ(refused("&repo=x&tag=/"), 400);
  EXPECT_EQ(refused("&repo=x@sha256:" + std::string(64, 'a')), 400);
  EXPECT_EQ(refused("&changes=RUN%20x"), 400);
  EXPECT_EQ(refused("", json{{"Env", 1}}), 400);
  EXPECT_EQ(actions_in(R"({"event":["pause"]})"), "");
}

TEST_F(CommitTest, TheNextDaemonEndsThePauseOfAKilledOne) {
  const std::string id = run_over_api({"sleep"});
  EXPECT_TRUE(*await(containers_->pauses().begin_commit(*containers_->find(id))));
  host_.leave_running(id);

  open();

  const engine::ContainerPtr container = *containers_->find(id);
  EXPECT_EQ(container->state.status, engine::Status::kRunning);
  EXPECT_FALSE(container->state.paused_to_commit);
}

TEST_F(CommitTest, ThePauseEndsWithTheLastCommit) {
  const engine::ContainerPtr container = *containers_->find(run_over_api({"sleep"}));
  EXPECT_TRUE(*await(containers_->pauses().begin_commit(container)));
  EXPECT_TRUE(*await(containers_->pauses().begin_commit(container)));

  await(containers_->pauses().end_commit(container));
  EXPECT_EQ(container->state.status, engine::Status::kPaused);

  await(containers_->pauses().end_commit(container));
  EXPECT_EQ(container->state.status, engine::Status::kRunning);
}

TEST_F(CommitTest, HasNoCheckpointsAsADaemonThatIsNotExperimental) {
  const auto answer = call("GET", "/containers/none/checkpoints");

  EXPECT_EQ(static_cast<int>(answer.status), 501);
  EXPECT_TRUE(message(answer).starts_with("This experimental feature is disabled by default."));
}

}  // namespace
}  // namespace docker
