// images/...: a real image store behind the API, fake machines beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/detached.hpp>

#include "api/docker/testing/api_fixture.h"
#include "images/store/testing/archives.h"
#include "images/store/testing/temporary_directory.h"

namespace docker {
namespace {

using images::testing::docker_archive;
using images::testing::TarBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kBase = TarBuilder().file("base", "base content").finish();
const std::string kTop = TarBuilder().file("top", "top").finish();

class ImagesTest : public ApiTest {
 protected:
  ImagesTest()
      : store_(*images::Store::open({.root = place_ / "store",
                                     .tenant = "default",
                                     .layer_tool = CONTAINERVM_LAYER,
                                     .limits = {}})),
        store_registries_(*registry::Registries::make({}, *store_)),
        image_api_(api_on(*store_, *store_registries_)) {
    add_image_routes(image_router_, image_api_);
  }

  http::Response ask(std::string method, std::string_view target, std::string body = "",
                     bool cut_off = false) {
    FakeExchange exchange(std::move(method), target, std::move(body));
    exchange.cut_off = cut_off;
    await(image_router_.serve(exchange));
    return exchange.answer;
  }
  int status_of(std::string method, std::string_view target) {
    return static_cast<int>(ask(std::move(method), target).status);
  }
  json ask_json(std::string_view target) { return json::parse(ask("GET", target).body); }
  std::string message(const http::Response& response) {
    return json::parse(response.body).value("message", "");
  }

  /// One image; its ID.
  std::string load(const std::vector<std::string>& layers, const std::vector<std::string>& tags,
                   json labels = json::object(),
                   const std::string& created = "2024-05-06T07:08:09Z") {
    std::vector<std::string> diff_ids;
    for (const std::string& layer : layers) diff_ids.push_back(images::digest_of(layer));
    json config = images::testing::config_for(diff_ids);
    config["created"] = created;
    config["config"]["Labels"] = std::move(labels);
    config["history"] = json::array({{{"created", created}, {"created_by", "made " + tags.at(0)}}});
    const auto answer =
        ask("POST", "/images/load?quiet=1", docker_archive({{layers, tags, config}}));
    EXPECT_THAT(answer.body, HasSubstr("Loaded image: " + tags.at(0)));
    return images::digest_of(config.dump());
  }

  /// The first tags of the list.
  std::vector<std::string> tags_in(const std::string& query) {
    std::vector<std::string> tags;
    for (const json& row : ask_json("/images/json" + query))
      tags.push_back(row["RepoTags"].empty() ? "<none>" : row["RepoTags"][0].get<std::string>());
    return tags;
  }
  static std::string filters(const std::string& text) { return "?filters=" + text; }

  images::testing::TemporaryDirectory place_;
  std::unique_ptr<images::Store> store_;
  std::unique_ptr<registry::Registries> store_registries_;
  Api image_api_;
  http::Router image_router_;
};

TEST_F(ImagesTest, ListsByLabelNameAgeAndDanglingness) {
  load({kBase}, {"old:1"}, {{"colour", "red"}}, "2020-01-01T00:00:00Z");
  load({kBase, kTop}, {"new:1"}, {{"colour", "blue"}}, "2024-01-01T00:00:00Z");

  EXPECT_THAT(tags_in(""), ElementsAre("new:1", "old:1"));
  EXPECT_THAT(tags_in(filters(R"({"label":["colour=red"]})")), ElementsAre("old:1"));
  EXPECT_THAT(tags_in(filters(R"({"label!":{"colour=red":true}})")), ElementsAre("new:1"));
  EXPECT_THAT(tags_in(filters(R"({"reference":["ne*"]})")), ElementsAre("new:1"));
  EXPECT_THAT(tags_in(filters(R"({"before":["new:1"]})")), ElementsAre("old:1"));
  EXPECT_THAT(tags_in(filters(R"({"since":["old:1"]})")), ElementsAre("new:1"));
  EXPECT_THAT(tags_in(filters(R"({"until":["2022-01-01T00:00:00Z"]})")), ElementsAre("old:1"));
  EXPECT_THAT(tags_in(filters(R"({"dangling":["true"]})")), IsEmpty());
  EXPECT_THAT(tags_in(filters(R"({"dangling":["false"]})")), ElementsAre("new:1", "old:1"));
}

TEST_F(ImagesTest, AnswersWhileClientsTakeTheirTimeOverUploads) {
  load({kBase}, {"here:1"}, json::object());
  async::Notifier notifier(io_.get_executor());
  std::vector<std::unique_ptr<FakeExchange>> uploads;
  int answered = 0;
  const auto serve = [&](FakeExchange& exchange) -> net::awaitable<void> {
    co_await image_router_.serve(exchange);
    ++answered;
  };
  // More than there are threads for them.
  for (int i = 0; i < 20; ++i) {
    const char* target = i % 2 == 0 ? "/images/load?quiet=1" : "/images/create?fromSrc=-";
    uploads.push_back(std::make_unique<FakeExchange>("POST", target, kBase.substr(0, 512)));
    uploads.back()->stalls = &notifier;
    uploads.back()->cut_off = true;
    net::co_spawn(io_, serve(*uploads.back()), net::detached);
  }
  settle();

  EXPECT_THAT(tags_in(""), ElementsAre("here:1"));
  EXPECT_EQ(status_of("POST", "/images/here:1/tag?repo=other"), 201);
  load({kBase, kTop}, {"there:1"});
  ask("POST", "/images/create?fromSrc=-&repo=made", kBase);
  EXPECT_THAT(tags_in(""), testing::Contains("made:latest"));

  EXPECT_EQ(answered, 0);
  notifier.notify_all();
  run_until([&] { return answered == 20; });
}

TEST_F(ImagesTest, RefusesFiltersThatItDoesNotKnow) {
  const auto unknown = ask("GET", "/images/json" + filters(R"({"colour":["red"]})"));
  const auto vague = ask("GET", "/images/json" + filters(R"({"dangling":["maybe"]})"));

  EXPECT_EQ(static_cast<int>(unknown.status), 400);
  EXPECT_EQ(message(unknown), "invalid filter 'colour'");
  EXPECT_EQ(message(vague), "invalid filter 'dangling=[maybe]'");
  EXPECT_EQ(status_of("GET", "/images/json" + filters(R"({"before":["none"]})")), 404);
  EXPECT_EQ(status_of("POST", "/images/prune" + filters(R"({"reference":["x"]})")), 400);
}

TEST_F(ImagesTest, ShowsAnUntaggedImageAsTheClientsVersionExpects) {
  const std::string id = load({kBase}, {"app:1"});
  ask("POST", "/images/create?fromSrc=-", kTop);

  const json old = ask_json("/v1.42/images/json" + filters(R"({"dangling":["1"]})"));
  const json now = ask_json("/v1.51/images/json" + filters(R"({"dangling":["1"]})"));

  ASSERT_EQ(old.size(), 1u);
  EXPECT_EQ(old[0]["RepoTags"], json::array({"<none>:<none>"}));
  EXPECT_TRUE(old[0].contains("VirtualSize"));
  EXPECT_EQ(now[0]["RepoTags"], json::array());
  EXPECT_FALSE(now[0].contains("VirtualSize"));
}

TEST_F(ImagesTest, InspectsAnImageByNameAndShortId) {
  const std::string id = load({kBase, kTop}, {"app:1", "registry.example:5000/team/app:2"});

  const json image = ask_json("/images/app:1/json");

  EXPECT_EQ(image["Id"], id);
  EXPECT_EQ(image["RepoTags"], json::array({"app:1", "registry.example:5000/team/app:2"}));
  EXPECT_EQ(image["Config"]["Cmd"], json::array({"/bin/sh"}));
  EXPECT_EQ(image["RootFS"]["Layers"],
            json::array({images::digest_of(kBase), images::digest_of(kTop)}));
  EXPECT_EQ(ask_json("/images/" + id.substr(7, 12) + "/json")["Id"], id);
  EXPECT_EQ(ask_json("/images/registry.example:5000/team/app:2/json")["Id"], id);
  const auto missing = ask("GET", "/images/none/json");
  EXPECT_EQ(static_cast<int>(missing.status), 404);
  EXPECT_EQ(message(missing), "No such image: none:latest");
}

TEST_F(ImagesTest, ShowsOfAnImagesConfigurationWhatSaysSomething) {
  load({kBase}, {"app:1"});  // with an empty map of labels

  const json now = ask_json("/images/app:1/json")["Config"];
  const json before = ask_json("/v1.49/images/app:1/json")["Config"];

  EXPECT_EQ(now, (json{{"Cmd", {"/bin/sh"}},
                       {"Entrypoint", nullptr},
                       {"Env", {"PATH=/bin"}},
                       {"Labels", nullptr},
                       {"OnBuild", nullptr},
                       {"User", ""},
                       {"Volumes", nullptr},
                       {"WorkingDir", ""}}));
  EXPECT_EQ(before["Hostname"], "");
  EXPECT_EQ(before["Labels"], nullptr);
}

TEST_F(ImagesTest, TellsAnImagesHistory) {
  const std::string id = load({kBase}, {"app:1"});

  const json rows = ask_json("/images/app:1/history");

  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["Id"], id);
  EXPECT_EQ(rows[0]["CreatedBy"], "made app:1");
  EXPECT_EQ(rows[0]["Size"], 12);
  EXPECT_EQ(rows[0]["Tags"], json::array({"app:1"}));
  EXPECT_EQ(status_of("GET", "/images/none/history"), 404);
}

TEST_F(ImagesTest, TagsAnImageAndSaysWhyNot) {
  const std::string id = load({kBase}, {"app:1"});

  EXPECT_EQ(status_of("POST", "/images/app:1/tag?repo=other&tag=2"), 201);
  EXPECT_EQ(ask_json("/images/other:2/json")["Id"], id);
  EXPECT_EQ(status_of("POST", "/images/none/tag?repo=other"), 404);
  const auto bad = ask("POST", "/images/app:1/tag?repo=Other");
  EXPECT_EQ(static_cast<int>(bad.status), 400);
  EXPECT_THAT(message(bad), HasSubstr("\"Other\" is not a valid repository/tag"));
  EXPECT_EQ(status_of("POST", "/images/app:1/tag?repo=a@sha256:" + std::string(64, 'a')), 400);
  EXPECT_EQ(status_of("POST", "/images/app:1/tag"), 400);
  EXPECT_THAT(actions_in(R"({"type":["image"]})"), HasSubstr("tag"));
}

TEST_F(ImagesTest, RemovesANameAndThenTheImage) {
  const std::string id = load({kBase}, {"app:1", "app:2"});

  EXPECT_EQ(json::parse(ask("DELETE", "/images/app:1").body),
            json::array({{{"Untagged", "app:1"}}}));
  EXPECT_EQ(
      json::parse(ask("DELETE", "/images/app:2").body),
      json::array(
          {{{"Untagged", "app:2"}}, {{"Deleted", id}}, {{"Deleted", images::digest_of(kBase)}}}));
  EXPECT_EQ(status_of("DELETE", "/images/app:2"), 404);
}

TEST_F(ImagesTest, KeepsImagesThatContainersUse) {
  const std::string id = load({kBase}, {"app:1"});
  const std::string container = run_over_api({"sleep"});
  ASSERT_TRUE(store_->hold(container, id));

  const auto named = ask("DELETE", "/images/app:1");
  const auto forced = ask("DELETE", "/images/" + id + "?force=1");

  EXPECT_EQ(static_cast<int>(named.status), 409);
  EXPECT_THAT(message(named), StartsWith("conflict: unable to remove repository reference \"app:1\""
                                         " (must force) - container " +
                                         container.substr(0, 12)));
  EXPECT_EQ(static_cast<int>(forced.status), 409);
  EXPECT_THAT(message(forced), HasSubstr("(cannot be forced) - image is being used by running"));
}

TEST_F(ImagesTest, WantsForceForAnIdWithNamesInSeveralRepositories) {
  const std::string id = load({kBase}, {"app:1", "other:1"});

  const auto refused = ask("DELETE", "/images/" + id);

  EXPECT_EQ(static_cast<int>(refused.status), 409);
  EXPECT_THAT(message(refused), HasSubstr("image is referenced in multiple repositories"));
  EXPECT_EQ(status_of("DELETE", "/images/" + id + "?force=1"), 200);
}

TEST_F(ImagesTest, PrunesWhatTheFiltersLeave) {
  load({kBase}, {"app:1"}, {{"keep", "1"}});
  load({kTop}, {"other:1"});
  ask("POST", "/images/create?fromSrc=-", TarBuilder().file("x", "y").finish());

  const json dangling = json::parse(ask("POST", "/images/prune").body);
  EXPECT_EQ(dangling["ImagesDeleted"].size(), 2u);  // the image and its layer
  EXPECT_GT(dangling["SpaceReclaimed"], 0);
  ask("POST", "/images/prune" + filters(R"({"dangling":["false"],"label!":["keep"]})"));

  EXPECT_THAT(tags_in(""), ElementsAre("app:1"));
  EXPECT_EQ(json::parse(ask("POST", "/images/prune").body)["ImagesDeleted"], nullptr);
}

TEST_F(ImagesTest, SavesWhatWasLoadedAndLoadsItAgain) {
  const std::string first = load({kBase, kTop}, {"app:1", "app:2"});
  const std::string second = load({kBase}, {"base:1"});

  const auto saved = ask("GET", "/images/get?names=app:1&names=app:2&names=base:1");
  EXPECT_EQ(saved.content_type, "application/x-tar");
  ask("DELETE", "/images/" + first + "?force=1");
  ask("DELETE", "/images/" + second + "?force=1");
  ASSERT_THAT(tags_in(""), IsEmpty());
  const auto loaded = ask("POST", "/images/load", saved.body);

  EXPECT_THAT(loaded.body, HasSubstr("Loading layer"));
  EXPECT_EQ(ask_json("/images/app:2/json")["Id"], first);
  EXPECT_EQ(ask_json("/images/base:1/json")["Id"], second);
  EXPECT_EQ(ask("GET", "/images/get?names=app:1&names=app:2&names=base:1").body, saved.body);
}

TEST_F(ImagesTest, SaysBeforeTheStreamThatAnImageToSaveIsMissing) {
  EXPECT_EQ(status_of("GET", "/images/none/get"), 404);
  EXPECT_EQ(status_of("GET", "/images/get?names=none"), 404);
  EXPECT_EQ(status_of("GET", "/images/get"), 400);
}

TEST_F(ImagesTest, ReportsAnArchiveThatIsNoneInTheStream) {
  const auto answer = ask("POST", "/images/load", "no archive at all");

  EXPECT_EQ(static_cast<int>(answer.status), 200);
  EXPECT_FALSE(json::parse(answer.body)["error"].get<std::string>().empty());
}

TEST_F(ImagesTest, MakesNothingOfALoadOrImportThatIsCutOff) {
  // Whole tar archives, but the client did not say that they are: the connection broke.
  ask("POST", "/images/load", docker_archive({{{kBase}, {"app:1"}, {}}}), true);
  const auto imported = ask("POST", "/images/create?fromSrc=-&repo=cut", kBase, true);

  EXPECT_THAT(tags_in("?all=1"), IsEmpty());
  EXPECT_EQ(message(imported), "the request ended before its body was complete");
}

TEST_F(ImagesTest, ImportsATarWithChanges) {
  const auto answer = ask(
      "POST", "/images/create?fromSrc=-&repo=made&tag=1&message=hello&changes=CMD%20%5B%22ls%22%5D",
      kBase);

  const json image = ask_json("/images/made:1/json");
  EXPECT_EQ(json::parse(answer.body)["status"], image["Id"]);
  EXPECT_EQ(image["Config"]["Cmd"], json::array({"ls"}));
  EXPECT_EQ(image["Comment"], "hello");
  EXPECT_EQ(static_cast<int>(ask("POST", "/images/create?fromSrc=http://x/y").status), 501);
}

}  // namespace
}  // namespace docker
