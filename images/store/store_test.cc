#include "images/store/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "images/store/catalog/sqlite.h"
#include "images/store/testing/archives.h"
#include "images/store/testing/erofs_view.h"
#include "images/store/testing/temporary_directory.h"
#include "vmm/base/unique_fd.h"

namespace images {
namespace {

namespace fs = std::filesystem;
using base::Code;
using testing::config_for;
using testing::docker_archive;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::TarBuilder;

const std::string kBase = TarBuilder().file("base", "base content").finish();
const std::string kTop = TarBuilder().file("top", "top").file(".wh.base", "").finish();

std::string gzip(const std::string& text) {
  std::string out(compressBound(text.size()) + 32, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::vector<std::string> names_of(const std::vector<RemovedItem>& items) {
  std::vector<std::string> names;
  for (const RemovedItem& item : items)
    names.push_back((item.kind == RemovedItem::Kind::kUntagged ? "untagged " : "deleted ") +
                    item.name);
  return names;
}

const RemoveOptions kForced = {.force = true, .prune_parents = true, .running = {}};

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { reopen(); }

  StoreOptions options() const {
    StoreOptions options;
    options.root = directory_ / "store";
    options.layer_tool = CONTAINERVM_LAYER;
    return options;
  }

  void reopen() {
    store_.reset();
    auto opened = Store::open(options());
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = *std::move(opened);
  }

  base::Result<std::vector<LoadedImage>> load(const std::string& archive) {
    SpanSource source(std::as_bytes(std::span(archive)));
    return store_->load(source, {.on_layer_progress = {}, .on_line = [this](std::string_view line) {
                                   lines_.emplace_back(line);
                                 }});
  }

  /// Loads one image and returns its ID.
  std::string load_one(const std::vector<std::string>& layers,
                       const std::vector<std::string>& tags) {
    auto loaded = load(docker_archive({{layers, tags, {}}}));
    EXPECT_TRUE(loaded) << (loaded ? "" : loaded.error().message);
    return loaded ? loaded->at(0).id : "";
  }

  base::Error load_error(const std::string& archive) {
    auto loaded = load(archive);
    EXPECT_FALSE(loaded);
    return loaded ? base::Error{} : loaded.error();
  }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const char* part : {"layers/default", "tmp"})
      for (const auto& entry : fs::directory_iterator(directory_ / "store/" + part))
        names.push_back(entry.path().filename());
    return names;
  }

  std::vector<ImageSummary> list(const ListFilter& filter = {}) {
    auto images = store_->list(filter);
    EXPECT_TRUE(images) << (images ? "" : images.error().message);
    return images ? *images : std::vector<ImageSummary>();
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  std::vector<std::string> lines_;
};

TEST_F(StoreTest, LoadsADockerArchive) {
  const std::string id = load_one({kBase, kTop}, {"busybox:latest", "example.com:5000/a/b:1"});

  auto image = store_->resolve("busybox");
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->id, id);
  EXPECT_EQ(image->id, digest_of(image->config_json));
  EXPECT_THAT(image->repo_tags, ElementsAre("busybox:latest", "example.com:5000/a/b:1"));
  EXPECT_THAT(image->config.defaults.cmd, ElementsAre("/bin/sh"));
  EXPECT_EQ(image->size, 15u);
  ASSERT_THAT(image->layers, SizeIs(2));
  EXPECT_EQ(image->layers[0].diff_id, digest_of(kBase));
  EXPECT_EQ(fs::file_size(image->layers[1].path), image->layers[1].bytes);
  EXPECT_THAT(lines_,
              ElementsAre("Loaded image: busybox:latest", "Loaded image: example.com:5000/a/b:1"));
}

TEST_F(StoreTest, MakesLayersThatAreEROFS) {
  load_one({kBase}, {"a:1"});
  auto image = store_->resolve("a:1");
  ASSERT_TRUE(image);

  std::ifstream file(image->layers[0].path, std::ios::binary);
  const testing::ErofsView view({std::istreambuf_iterator<char>(file), {}});

  EXPECT_EQ(view.find("base").data, "base content");
}

TEST_F(StoreTest, LoadsCompressedArchivesAndLayers) {
  const nlohmann::json config = config_for({digest_of(kBase)});

  auto loaded = load(gzip(docker_archive({{{gzip(kBase)}, {"z:1"}, config}})));

  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(store_->resolve("z:1"));
}

TEST_F(StoreTest, LoadsSeveralImagesAndStoresSharedLayersOnce) {
  auto loaded = load(docker_archive({{{kBase}, {"a:1"}, {}}, {{kBase, kTop}, {"b:1"}, {}}}));

  ASSERT_TRUE(loaded);
  EXPECT_THAT(*loaded, SizeIs(2));
  EXPECT_THAT(files(), SizeIs(4));  // two layers, each with its recipe
}

TEST_F(StoreTest, LoadsAnOciLayoutForThisPlatform) {
  TarBuilder tar;
  nlohmann::json other = testing::add_oci_image(tar, {{kTop}, {}, {}});
  other["platform"] = {{"os", "linux"}, {"architecture", "s390x"}};
  nlohmann::json ours = testing::add_oci_image(tar, {{kBase}, {}, {}});
  ours["platform"] = {{"os", "linux"}, {"architecture", std::string(host_architecture())}};
  const nlohmann::json choice = {{"schemaVersion", 2}, {"manifests", {other, ours}}};
  nlohmann::json top =
      testing::add_blob(tar, "application/vnd.oci.image.index.v1+json", choice.dump());
  top["annotations"] = {{"org.opencontainers.image.ref.name", "example.com/app:2"}};
  tar.file(
      "index.json",
      nlohmann::json({{"schemaVersion", 2}, {"manifests", nlohmann::json::array({top})}}).dump());
  tar.file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");

  auto loaded = load(tar.finish());

  ASSERT_TRUE(loaded) << loaded.error().message;
  auto image = store_->resolve("example.com/app:2");
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->layers[0].diff_id, digest_of(kBase));
}

TEST_F(StoreTest, RefusesAnOciLayerWhoseDigestIsWrong) {
  TarBuilder tar;
  const std::string layer = kBase;
  const nlohmann::json wrong = {{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                                {"digest", "sha256:" + std::string(64, '0')},
                                {"size", layer.size()}};
  tar.file("blobs/sha256/" + std::string(64, '0'), layer);
  const nlohmann::json manifest = {
      {"schemaVersion", 2},
      {"config", testing::add_blob(tar, "application/vnd.oci.image.config.v1+json",
                                   config_for({digest_of(layer)}).dump())},
      {"layers", nlohmann::json::array({wrong})}};
  const nlohmann::json top =
      testing::add_blob(tar, "application/vnd.oci.image.manifest.v1+json", manifest.dump());
  tar.file("index.json", nlohmann::json({{"manifests", nlohmann::json::array({top})}}).dump());

  EXPECT_EQ(load_error(tar.finish()).code, Code::kDataLoss);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StoreTest, LeavesNothingBehindWhenALayerDoesNotMatch) {
  const base::Error error = load_error(
      docker_archive({{{kBase, kTop}, {"bad:1"}, config_for({digest_of(kBase), digest_of("x")})}}));

  EXPECT_EQ(error.code, Code::kDataLoss);
  EXPECT_THAT(error.message, HasSubstr("invalid diffID"));
  EXPECT_THAT(list(), IsEmpty());
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StoreTest, LeavesNothingBehindWhenALayerIsHostile) {
  for (const std::string& layer :
       {TarBuilder().file("../../escape", "x").finish(),
        TarBuilder().hard_link("shadow", "/etc/shadow").finish(),
        TarBuilder().add({.name = "huge", .claimed_size = "77777777777"}).finish(),
        std::string("this is no tar")}) {
    EXPECT_NE(load_error(docker_archive({{{kBase, layer}, {"bad:1"}, {}}})).message, "");
    EXPECT_THAT(files(), IsEmpty());
  }
}

TEST_F(StoreTest, RefusesTruncatedArchivesOfEveryLength) {
  const std::string archive = docker_archive({{{kBase}, {"a:1"}, {}}});
  for (std::size_t length = 0; length + 1024 < archive.size(); length += 300) {
    EXPECT_FALSE(load(archive.substr(0, length))) << length;
    EXPECT_THAT(files(), IsEmpty());
  }
}

TEST_F(StoreTest, RefusesImagesForOtherPlatforms) {
  nlohmann::json foreign = config_for({digest_of(kBase)});
  foreign["architecture"] = "s390x";
  const base::Error error = load_error(docker_archive({{{kBase}, {"a:1"}, foreign}}));
  EXPECT_EQ(error.code, Code::kNotSupported);
  EXPECT_THAT(error.message, HasSubstr("linux/s390x"));

  nlohmann::json windows = config_for({digest_of(kBase)});
  windows["os"] = "windows";
  EXPECT_EQ(load_error(docker_archive({{{kBase}, {"a:1"}, windows}})).code, Code::kNotSupported);
}

TEST_F(StoreTest, RefusesMalformedManifestsAndConfigs) {
  const auto archive = [](const std::string& manifest, const std::string& config) {
    return TarBuilder().file("manifest.json", manifest).file("c.json", config).finish();
  };
  const std::string good = R"([{"Config":"c.json","RepoTags":["a:1"],"Layers":[]}])";
  const std::string no_layers = R"({"rootfs":{"type":"layers","diff_ids":[]}})";
  ASSERT_TRUE(load(archive(good, no_layers)));
  for (const char* manifest :
       {"", "[", "{}", "null", "[1]", R"([{"Config":1}])", R"([{"Config":"missing"}])",
        R"([{"Config":"c.json","Layers":["missing"]}])",
        R"([{"Config":"c.json","RepoTags":["UPPER:1"],"Layers":[]}])",
        R"([{"Config":"c.json","RepoTags":["no-tag"],"Layers":[]}])",
        R"([{"Config":"c.json","RepoTags":"a:1","Layers":[]}])"})
    EXPECT_FALSE(load(archive(manifest, no_layers))) << manifest;
  for (const char* config :
       {"", "[]", "{}", R"({"rootfs":{"type":"layers","diff_ids":["sha256:12"]}})",
        R"({"rootfs":{"type":"other"}})", R"({"config":{"Env":"A=1"},"rootfs":{"type":"layers"}})",
        R"({"rootfs":{"type":"layers","diff_ids":["../../etc/passwd"]}})"})
    EXPECT_FALSE(load(archive(good, config))) << config;
  EXPECT_FALSE(load(archive(good, std::string(100'000, '['))));
  EXPECT_THAT(list(), SizeIs(1));
}

TEST_F(StoreTest, FollowsLinksInsideAnArchiveOnly) {
  const std::string config = config_for({digest_of(kBase)}).dump();
  const auto archive = [&](const std::string& target) {
    return TarBuilder()
        .file("one/layer.tar", kBase)
        .symlink("two/layer.tar", target)
        .file("c.json", config)
        .file("manifest.json", R"([{"Config":"c.json","Layers":["two/layer.tar"]}])")
        .finish();
  };

  EXPECT_TRUE(load(archive("../one/layer.tar")));
  EXPECT_FALSE(load(archive("/etc/passwd")));
  EXPECT_FALSE(load(archive("layer.tar")));
}

TEST_F(StoreTest, FindsImagesByNameAndById) {
  const std::string id = load_one({kBase}, {"a:1"});

  for (const std::string& name : {std::string("a:1"), std::string("docker.io/library/a:1"), id,
                                  id.substr(7), id.substr(7, 12), id.substr(0, 12)})
    EXPECT_TRUE(store_->resolve(name)) << name;
  for (const char* name :
       {"a", "b:1", "a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "sha256:"}) {
    auto missing = store_->resolve(name);
    ASSERT_FALSE(missing) << name;
    EXPECT_NE(missing.error().message, "");
  }
  EXPECT_EQ(store_->resolve("no-such").error().message, "No such image: no-such:latest");
  EXPECT_EQ(store_->resolve("no-such").error().code, Code::kNotFound);
  EXPECT_EQ(store_->resolve("Bad Name").error().code, Code::kInvalidArgument);
}

TEST_F(StoreTest, AnAmbiguousIdIsUnknown) {
  load_one({kBase}, {"a:1"});
  for (int i = 0; i < 17; ++i)  // more than there are first digits
    load_one({TarBuilder().file("f", std::to_string(i)).finish()}, {"a:" + std::to_string(i + 2)});
  std::map<char, std::vector<std::string>> by_digit;
  for (const ImageSummary& image : list()) by_digit[image.id[7]].push_back(image.id);
  const auto twice = std::find_if(by_digit.begin(), by_digit.end(),
                                  [](const auto& entry) { return entry.second.size() > 1; });

  EXPECT_FALSE(store_->resolve("sha256:" + std::string(1, twice->first)));
}

TEST_F(StoreTest, TagsAndMovesTags) {
  const std::string first = load_one({kBase}, {"a:1"});
  const std::string second = load_one({kTop}, {"b:1"});

  ASSERT_TRUE(store_->tag("a:1", "new"));
  EXPECT_EQ(store_->resolve("new:latest")->id, first);
  ASSERT_TRUE(store_->tag("b:1", "new"));
  EXPECT_EQ(store_->resolve("new:latest")->id, second);
  EXPECT_EQ(store_->tag("missing", "x").error().code, Code::kNotFound);
  EXPECT_EQ(store_->tag("a:1", "UPPER").error().code, Code::kInvalidArgument);
  EXPECT_EQ(store_->tag("a:1", "x@" + first).error().code, Code::kInvalidArgument);
}

TEST_F(StoreTest, RemovesANameFirstAndTheImageWithTheLast) {
  const std::string id = load_one({kBase, kTop}, {"a:1", "a:2"});

  EXPECT_THAT(names_of(*store_->remove("a:1", {})), ElementsAre("untagged a:1"));
  const auto removed = names_of(*store_->remove("a:2", {}));

  ASSERT_THAT(removed, SizeIs(4));
  EXPECT_EQ(removed[0], "untagged a:2");
  EXPECT_EQ(removed[1], "deleted " + id);
  EXPECT_EQ(removed[3], "deleted " + digest_of(kBase));
  EXPECT_THAT(files(), IsEmpty());
  EXPECT_EQ(store_->remove("a:2", {}).error().message, "No such image: a:2");
}

TEST_F(StoreTest, KeepsLayersThatAnotherImageHas) {
  load_one({kBase}, {"a:1"});
  load_one({kBase, kTop}, {"b:1"});

  ASSERT_TRUE(store_->remove("b:1", {}));

  EXPECT_THAT(files(), SizeIs(2));
  EXPECT_TRUE(fs::exists(store_->resolve("a:1")->layers[0].path));
}

TEST_F(StoreTest, RemovesByIdOnlyWithinOneRepositoryUnlessForced) {
  const std::string id = load_one({kBase}, {"a:1", "b:1"});

  auto refused = store_->remove(id, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(refused.error().message,
            "conflict: unable to delete " + id.substr(7, 12) +
                " (must be forced) - image is referenced in multiple repositories");
  EXPECT_TRUE(store_->remove(id.substr(7, 12), kForced));
  EXPECT_THAT(list(), IsEmpty());
}

TEST_F(StoreTest, RefusesToRemoveWhatContainersUse) {
  const std::string id = load_one({kBase}, {"a:1"});
  const std::string holder(64, 'c');
  ASSERT_TRUE(store_->hold(holder, id));

  EXPECT_EQ(store_->remove("a:1", {}).error().message,
            "conflict: unable to remove repository reference \"a:1\" (must force) - container "
            "cccccccccccc is using its referenced image " +
                id.substr(7, 12));
  EXPECT_EQ(store_->remove(id, {}).error().message,
            "conflict: unable to delete " + id.substr(7, 12) +
                " (must be forced) - image is being used by stopped container cccccccccccc");
  EXPECT_EQ(store_->remove(id, {.force = true, .prune_parents = true, .running = {holder}})
                .error()
                .message,
            "conflict: unable to delete " + id.substr(7, 12) +
                " (cannot be forced) - image is being used by running container cccccccccccc");
}

TEST_F(StoreTest, AHolderKeepsLayersOfARemovedImage) {
  const std::string id = load_one({kBase}, {"a:1"});
  ASSERT_TRUE(store_->hold("holder", id));

  ASSERT_TRUE(store_->remove("a:1", kForced));
  reopen();

  EXPECT_THAT(list(), IsEmpty());
  auto layers = store_->held_layers("holder");
  ASSERT_TRUE(layers);
  ASSERT_THAT(*layers, SizeIs(1));
  EXPECT_TRUE(fs::exists(layers->at(0).path));
  ASSERT_TRUE(store_->release("holder"));
  EXPECT_THAT(files(), IsEmpty());
  EXPECT_EQ(store_->held_layers("holder").error().code, Code::kNotFound);
}

TEST_F(StoreTest, ForgetsHoldersThatAreGone) {
  const std::string id = load_one({kBase}, {"a:1"});
  ASSERT_TRUE(store_->hold("alive", id));
  ASSERT_TRUE(store_->hold("dead", id));

  ASSERT_TRUE(store_->retain_only({"alive"}));

  EXPECT_TRUE(store_->held_layers("alive"));
  EXPECT_FALSE(store_->held_layers("dead"));
  EXPECT_EQ(list().at(0).containers, 1u);
}

TEST_F(StoreTest, ListsNewestFirstAndFilters) {
  nlohmann::json old = config_for({digest_of(kBase)});
  old["created"] = "2020-01-01T00:00:00Z";
  old["config"]["Labels"] = {{"stage", "old"}};
  ASSERT_TRUE(load(docker_archive({{{kBase}, {"old:1", "busybox:1.36"}, old}})));
  const std::string fresh = load_one({kTop}, {"new:1"});
  const std::string dangling = load_one({kBase, kTop}, {});
  const auto ids = [&](const ListFilter& filter) {
    std::vector<std::string> found;
    for (const ImageSummary& image : list(filter)) found.push_back(image.id);
    return found;
  };
  const std::string old_id = store_->resolve("old:1")->id;

  EXPECT_EQ(list().back().id, old_id);
  EXPECT_EQ(list().back().created_seconds, 1'577'836'800);
  ListFilter filter;
  filter.dangling = true;
  EXPECT_THAT(ids(filter), ElementsAre(dangling));
  filter = {};
  filter.references = {"busy*"};
  EXPECT_THAT(ids(filter), ElementsAre(old_id));
  EXPECT_THAT(list(filter).at(0).repo_tags, ElementsAre("busybox:1.36"));
  filter.references = {"*:1"};
  EXPECT_THAT(ids(filter), ElementsAre(fresh, old_id));
  filter = {};
  filter.labels = {"stage=old"};
  EXPECT_THAT(ids(filter), ElementsAre(old_id));
  filter = {};
  filter.before = "new:1";
  EXPECT_THAT(ids(filter), ElementsAre(old_id));
  filter = {};
  filter.until_seconds = 1'600'000'000;
  EXPECT_THAT(ids(filter), ElementsAre(old_id));
  filter = {};
  filter.since = "missing";
  EXPECT_EQ(store_->list(filter).error().code, Code::kNotFound);
}

TEST_F(StoreTest, PrunesDanglingImagesThatNobodyUses) {
  load_one({kBase}, {"kept:1"});
  const std::string dangling = load_one({kTop}, {});
  const std::string held = load_one({kBase, kTop}, {});
  ASSERT_TRUE(store_->hold("holder", held));

  auto report = store_->prune({});

  ASSERT_TRUE(report);
  EXPECT_EQ(report->removed.at(0).name, dangling);
  EXPECT_THAT(list(), SizeIs(2));
  ASSERT_TRUE(store_->release("holder"));
  report = store_->prune({.dangling_only = false, .filter = {}, .running = {}});
  ASSERT_TRUE(report);
  EXPECT_GT(report->reclaimed_bytes, 0u);
  EXPECT_THAT(list(), IsEmpty());
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StoreTest, ImportsATarWithChanges) {
  SpanSource source(std::as_bytes(std::span(kBase)));

  auto imported = store_->import(source, {.repository_and_tag = "imported",
                                          .changes = {"CMD [\"/bin/true\"]", "ENV A=1 B='2 3'",
                                                      "EXPOSE 80 53/udp", "WORKDIR /srv"},
                                          .message = "",
                                          .source = "-"});

  ASSERT_TRUE(imported) << imported.error().message;
  auto image = store_->resolve("imported:latest");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->id, imported->id);
  EXPECT_EQ(image->config.os, "linux");
  EXPECT_THAT(image->config.diff_ids, ElementsAre(digest_of(kBase)));
  EXPECT_THAT(image->config.defaults.cmd, ElementsAre("/bin/true"));
  EXPECT_THAT(image->config.defaults.env, ElementsAre("A=1", "B=2 3"));
  EXPECT_THAT(image->config.defaults.exposed_ports, ElementsAre("53/udp", "80/tcp"));
  EXPECT_EQ(image->config.history.at(0).comment, "Imported from -");
}

TEST_F(StoreTest, ImportRefusesBadChangesAndBadTars) {
  const auto import = [&](const std::string& tar, const std::string& change) {
    SpanSource source(std::as_bytes(std::span(tar)));
    return store_->import(
        source, {.repository_and_tag = "x", .changes = {change}, .message = "", .source = "-"});
  };

  EXPECT_EQ(import(kBase, "FROM scratch").error().code, Code::kInvalidArgument);
  EXPECT_FALSE(import(kBase.substr(0, 600), ""));
  EXPECT_THAT(list(), IsEmpty());
  EXPECT_THAT(files(), IsEmpty());
}

CommitOptions commit_of(const std::string& parent, std::string name = "") {
  return {.parent = parent,
          .repository_and_tag = std::move(name),
          .config = R"({"Cmd":["run"]})",
          .container = "c0ffee",
          .container_config = R"({"Hostname":"box"})",
          .created_by = "sh -c make",
          .author = "me",
          .comment = "why"};
}

/// A stream that nobody wants any more once it has been read.
class AbandonedSource final : public ByteSource {
 public:
  explicit AbandonedSource(const std::string& text) : bytes_(std::as_bytes(std::span(text))) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override {
    auto got = bytes_.read(out);
    if (got && *got == 0) stop_.request_stop();
    return got;
  }
  std::stop_token stop_token() const override { return stop_.get_token(); }

 private:
  SpanSource bytes_;
  std::stop_source stop_;
};

TEST_F(StoreTest, LeavesNothingBehindOfWhatNobodyWaitsFor) {
  AbandonedSource tar(kBase);
  const std::string archive = docker_archive({{{kBase}, {"a:1"}, {}}});
  AbandonedSource loads(archive);

  const auto imported = store_->import(tar, {});
  const auto loaded = store_->load(loads, {});

  ASSERT_FALSE(imported);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(imported.error().code, Code::kUnavailable);
  EXPECT_EQ(loaded.error().code, Code::kUnavailable);
  ListFilter all;
  all.all = true;
  EXPECT_TRUE(list(all).empty());
  EXPECT_THAT(files(), IsEmpty());
}

TEST(SparseFileSinkTest, WritesZerosAsHoles) {
  testing::TemporaryDirectory directory;
  const base::UniqueFd file(::open((directory / "f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  const std::vector<std::byte> zeros(1u << 20);
  const std::string text = "end";
  SparseFileSink sink(file.get());

  for (int i = 0; i < 16; ++i) ASSERT_TRUE(sink.write(zeros));
  ASSERT_TRUE(sink.write(std::as_bytes(std::span(text))));
  ASSERT_TRUE(sink.write(zeros));
  ASSERT_TRUE(sink.finish());

  struct stat status {};
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_size, (17 << 20) + 3);
  EXPECT_LE(status.st_blocks * 512, 64 << 10);
  std::string read(3, '\0');
  ASSERT_EQ(::pread(file.get(), read.data(), 3, 16 << 20), 3);
  EXPECT_EQ(read, text);
}

TEST_F(StoreTest, CommitsALayerOnTopOfTheParents) {
  const std::string parent = load_one({kBase}, {"base:1"});
  SpanSource layer(std::as_bytes(std::span(kTop)));

  const auto made = store_->commit(layer, commit_of(parent, "new"));

  ASSERT_TRUE(made) << made.error().message;
  const auto image = store_->resolve("new:latest");
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->id, made->id);
  EXPECT_EQ(image->parent, parent);
  ASSERT_THAT(image->layers, SizeIs(2));
  EXPECT_EQ(image->layers[0].diff_id, store_->resolve("base:1")->layers[0].diff_id);
  EXPECT_THAT(image->config.defaults.cmd, ElementsAre("run"));
  EXPECT_EQ(image->config.author, "me");
  const HistoryEntry& entry = image->config.history.back();
  EXPECT_EQ(entry.created_by, "sh -c make");
  EXPECT_EQ(entry.comment, "why");
  EXPECT_FALSE(entry.empty_layer);
  EXPECT_THAT(files(), SizeIs(4));  // the parent's layer is not copied
}

TEST_F(StoreTest, CommitsNoLayerWhenNothingHasChanged) {
  const std::string parent = load_one({kBase}, {"base:1"});
  const std::string nothing = TarBuilder().finish();
  SpanSource layer(std::as_bytes(std::span(nothing)));

  const auto made = store_->commit(layer, commit_of(parent));

  ASSERT_TRUE(made) << made.error().message;
  const auto image = store_->resolve(made->id);
  EXPECT_THAT(image->layers, SizeIs(1));
  EXPECT_TRUE(image->config.history.back().empty_layer);
  EXPECT_THAT(files(), SizeIs(2));
}

TEST_F(StoreTest, AParentStaysUntilItsChildrenAreGone) {
  const std::string parent = load_one({kBase}, {"base:1"});
  SpanSource layer(std::as_bytes(std::span(kTop)));
  ASSERT_TRUE(store_->commit(layer, commit_of(parent, "new:1")));

  const auto refused = store_->remove(parent, kForced);
  const auto child_removed = store_->remove("new:1", {});
  const auto removed = store_->remove("base:1", {});

  EXPECT_THAT(refused.error().message, HasSubstr("image has dependent child images"));
  ASSERT_TRUE(child_removed) << child_removed.error().message;
  EXPECT_THAT(*child_removed, SizeIs(3));  // the name, the image, its own layer
  EXPECT_TRUE(removed);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StoreTest, ACommitMovesItsTag) {
  const std::string parent = load_one({kBase}, {"base:1"});
  SpanSource layer(std::as_bytes(std::span(kTop)));

  const auto made = store_->commit(layer, commit_of(parent, "base:1"));

  EXPECT_EQ(store_->resolve("base:1")->id, made->id);
  EXPECT_THAT(store_->resolve(parent)->repo_tags, IsEmpty());
}

TEST_F(StoreTest, LeavesNothingBehindOfACommitThatFails) {
  const std::string parent = load_one({kBase}, {"base:1"});
  const std::string unknown = "sha256:" + std::string(64, 'e');
  const auto code_of = [&](const std::string& tar, const CommitOptions& options) {
    SpanSource layer(std::as_bytes(std::span(tar)));
    const auto made = store_->commit(layer, options);
    return made ? base::Code::kAlreadyExists : made.error().code;
  };

  EXPECT_EQ(code_of(kTop, commit_of(unknown)), Code::kNotFound);
  EXPECT_EQ(code_of(kTop, commit_of(parent, "Bad")), Code::kInvalidArgument);
  EXPECT_EQ(code_of(kTop, commit_of(parent, "a@sha256:" + std::string(64, 'e'))),
            Code::kInvalidArgument);
  EXPECT_NE(code_of(kTop.substr(0, 700), commit_of(parent)), Code::kAlreadyExists);
  EXPECT_THAT(list(), SizeIs(1));
  EXPECT_THAT(files(), SizeIs(2));
}

TEST_F(StoreTest, ACommittedImageIsSavedAndLoadedAsTheSame) {
  const std::string parent = load_one({kBase}, {"base:1"});
  SpanSource layer(std::as_bytes(std::span(kTop)));
  const auto made = store_->commit(layer, commit_of(parent, "new:1"));
  StringSink sink(std::size_t{1} << 20);
  ASSERT_TRUE(store_->save({"new:1"}, sink));
  ASSERT_TRUE(store_->remove("new:1", {}));

  const auto loaded = load(std::move(sink).take());

  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->at(0).id, made->id);
}

TEST_F(StoreTest, SavesWhatItLoaded) {
  const std::string id = load_one({kBase, kTop}, {"a:1", "a:2"});
  StringSink sink(1u << 20);
  ASSERT_TRUE(store_->save({"a:1", id}, sink));
  const std::string archive = std::move(sink).take();
  ASSERT_TRUE(store_->remove(id, kForced));
  ASSERT_THAT(files(), IsEmpty());

  auto loaded = load(archive);

  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->at(0).id, id);
  EXPECT_THAT(store_->resolve(id)->repo_tags, ElementsAre("a:1"));
}

TEST_F(StoreTest, SavesSeveralImagesTheSameAgainAfterALoad) {
  const std::string app = load_one({kBase, kTop}, {"app:1", "registry.example:5000/app:2"});
  const std::string base = load_one({kBase}, {"base:1"});
  const std::vector<std::string> names = {"app:1", "registry.example:5000/app:2", "base:1"};
  const auto save = [&] {
    StringSink sink(1u << 20);
    EXPECT_TRUE(store_->save(names, sink));
    return std::move(sink).take();
  };
  const std::string archive = save();
  for (const std::string& id : {app, base}) ASSERT_TRUE(store_->remove(id, kForced));

  ASSERT_TRUE(load(archive));

  EXPECT_EQ(store_->resolve("registry.example:5000/app:2")->id, app);
  EXPECT_EQ(store_->resolve("base:1")->id, base);
  EXPECT_EQ(save(), archive);
}

TEST_F(StoreTest, TakesAsManyLayersAsAGuestCanMountAndNotOneMore) {
  const std::vector<std::string> most(kMaxLayers, kBase);
  const std::string id = load_one(most, {"deep:1"});
  EXPECT_EQ(store_->resolve(id)->layers.size(), kMaxLayers);
  StringSink sink(4u << 20);
  ASSERT_TRUE(store_->save({"deep:1"}, sink));
  auto again = load(std::move(sink).take());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->at(0).id, id);

  const std::vector<std::string> more(kMaxLayers + 1, kBase);
  EXPECT_THAT(load_error(docker_archive({{more, {"deeper:1"}, {}}})).message,
              HasSubstr("max depth exceeded"));
  CommitOptions commit;
  commit.parent = id;
  commit.config = commit.container_config = "{}";
  SpanSource layer(std::as_bytes(std::span(kTop)));
  EXPECT_THAT(store_->commit(layer, commit).error().message, HasSubstr("max depth exceeded"));
}

TEST_F(StoreTest, RefusesAnArchiveThatUnpacksBeyondItsLimit) {
  StoreOptions limited = options();
  limited.root = directory_ / "limited";
  limited.max_archive_bytes = 100'000;
  auto store = Store::open(limited);
  ASSERT_TRUE(store);
  const std::string bomb = gzip(TarBuilder().file("x", std::string(1 << 20, '\0')).finish());
  ASSERT_LT(bomb.size(), limited.max_archive_bytes);
  SpanSource source(std::as_bytes(std::span(bomb)));

  EXPECT_EQ((*store)->load(source, {}).error().code, Code::kResourceExhausted);
}

TEST_F(StoreTest, LeavesNothingBehindWhenTheDiskIsFull) {
  const std::string place = directory_ / "small";
  fs::create_directory(place);
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", place.c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "needs root, to mount a small file system";
  StoreOptions small = options();
  small.root = place + "/store";
  auto store = Store::open(small);
  ASSERT_TRUE(store);
  const auto load_bytes = [&](std::size_t bytes) {
    const std::string layer = TarBuilder().file("f", std::string(bytes, 'f')).finish();
    const std::string archive = docker_archive({{{layer}, {"a:1"}, {}}});
    SpanSource source(std::as_bytes(std::span(archive)));
    return (*store)->load(source, {});
  };

  // Too large to be spooled; then too large for the layer beside the spool.
  for (const std::size_t bytes : {3u << 20, 1'200'000u}) {
    const auto refused = load_bytes(bytes);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kResourceExhausted) << refused.error().message;
    EXPECT_TRUE(fs::is_empty(small.root + "/layers/default"));
    EXPECT_TRUE(fs::is_empty(small.root + "/tmp"));
  }
  EXPECT_TRUE(load_bytes(1000)) << "the store goes on";

  store->reset();
  ::umount(place.c_str());
}

TEST_F(StoreTest, CleansUpAfterACrash) {
  const std::string id = load_one({kBase}, {"a:1"});
  store_.reset();
  std::ofstream(directory_ / "store/tmp/image-crash") << "half";
  std::ofstream(directory_ / "store/layers/default/" + std::string(64, 'a') + ".erofs") << "orphan";

  reopen();

  EXPECT_THAT(files(), SizeIs(2));
  EXPECT_EQ(store_->resolve("a:1")->id, id);
}

TEST_F(StoreTest, RefusesASecondProcessAndANewerSchema) {
  EXPECT_EQ(Store::open(options()).error().code, Code::kUnavailable);
  store_.reset();
  {
    auto database = Database::open(options().root + "/images.db");
    ASSERT_TRUE(database);
    ASSERT_TRUE(database->execute("PRAGMA user_version = 1000"));
  }

  EXPECT_EQ(Store::open(options()).error().code, Code::kNotSupported);
}

TEST_F(StoreTest, AnImageWhoseConfigurationIsDamagedHidesNoOtherAndCanBeRemoved) {
  const std::string bad = load_one({kBase}, {"bad:1"});
  const std::string good = load_one({kTop}, {"good:1"});
  store_.reset();
  {
    auto database = Database::open(options().root + "/images.db");
    ASSERT_TRUE(database);
    ASSERT_TRUE(database->run("UPDATE images SET config = '{' WHERE id = ?1", bad));
  }

  reopen();

  EXPECT_THAT(list({}), SizeIs(2));
  EXPECT_EQ(store_->resolve("good:1")->id, good);
  EXPECT_FALSE(store_->resolve("bad:1"));
  EXPECT_TRUE(store_->remove("bad:1", {}));
  EXPECT_THAT(list({}), SizeIs(1));
  EXPECT_THAT(files(), SizeIs(2));
}

TEST_F(StoreTest, RefusesTenantsThatAreNoDirectoryNames) {
  StoreOptions bad = options();
  for (const char* tenant : {"", "..", "a/b", "UPPER"}) {
    bad.tenant = tenant;
    EXPECT_EQ(Store::open(bad).error().code, Code::kInvalidArgument) << tenant;
  }
}

TEST_F(StoreTest, RefusesArchivesLargerThanItsLimit) {
  StoreOptions limited = options();
  limited.root = directory_ / "limited";
  limited.max_archive_bytes = 1000;
  auto store = Store::open(limited);
  ASSERT_TRUE(store);
  const std::string archive = docker_archive({{{kBase}, {"a:1"}, {}}});
  SpanSource source(std::as_bytes(std::span(archive)));

  EXPECT_EQ((*store)->load(source, {}).error().code, Code::kResourceExhausted);
}

/// Remembers what it was asked, and accepts the transports that it was told.
class FakeAdmission final : public Admission {
 public:
  base::Result<void> admit(const Origin& origin) override {
    asked.push_back(origin.transport + ":" + origin.reference);
    if (accepted.contains(origin.transport)) return {};
    return base::Error{Code::kPermissionDenied, "rejected " + asked.back()};
  }
  std::set<std::string> accepted{"docker-archive", "tarball", "docker-daemon"};
  std::vector<std::string> asked;
};

class StoreAdmissionTest : public StoreTest {
 protected:
  StoreAdmissionTest() { open_with_admission(); }
  void open_with_admission() {
    store_.reset();
    StoreOptions guarded = options();
    guarded.admission = admission_;
    store_ = *Store::open(guarded);
  }
  std::shared_ptr<FakeAdmission> admission_ = std::make_shared<FakeAdmission>();
};

TEST_F(StoreAdmissionTest, AsksBeforeAnImageComesIn) {
  const std::string id = load_one({kBase}, {"app:1"});
  SpanSource tar(std::as_bytes(std::span(kBase)));
  ASSERT_TRUE(store_->import(
      tar, {.repository_and_tag = "imported", .changes = {}, .message = {}, .source = "-"}));
  SpanSource layer(std::as_bytes(std::span(kTop)));
  CommitOptions commit;
  commit.parent = id;
  commit.config = commit.container_config = "{}";
  ASSERT_TRUE(store_->commit(layer, commit));

  EXPECT_THAT(admission_->asked,
              ElementsAre("docker-archive:docker.io/library/app:1",
                          "tarball:docker.io/library/imported:latest", "docker-daemon:"));
}

TEST_F(StoreAdmissionTest, NothingIsLeftOfAnImageThatIsRejected) {
  admission_->accepted.clear();

  EXPECT_EQ(load_error(docker_archive({{{kBase}, {"app:1"}, {}}})).code, Code::kPermissionDenied);
  SpanSource tar(std::as_bytes(std::span(kBase)));
  EXPECT_FALSE(store_->import(tar, {}));

  EXPECT_THAT(list(), IsEmpty());
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StoreAdmissionTest, APolicyThatChangedCountsForImagesThatAreThere) {
  const std::string id = load_one({kBase}, {"app:1"});
  ASSERT_TRUE(store_->may_run(id));
  admission_->accepted.clear();
  open_with_admission();

  const auto refused = store_->may_run(id);

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "rejected docker-archive:docker.io/library/app:1");
}

TEST_F(StoreAdmissionTest, OneAcceptedOriginIsEnough) {
  const std::string base = load_one({kBase}, {"app:1"});
  const std::string same = load_one({kBase}, {"other:1"});
  ASSERT_EQ(base, same);
  admission_->accepted.clear();
  admission_->asked.clear();

  EXPECT_FALSE(store_->may_run(base));
  EXPECT_EQ(admission_->asked.size(), 2u);
  admission_->accepted = {"docker-archive"};
  EXPECT_TRUE(store_->may_run(base));
}

TEST_F(StoreAdmissionTest, AHoldersImageIsJudgedByItsOriginAfterItsRemoval) {
  const std::string id = load_one({kBase}, {"app:1"});
  ASSERT_TRUE(store_->hold("container", id));
  ASSERT_TRUE(store_->remove("app:1", kForced));
  ASSERT_TRUE(store_->may_run(id));
  admission_->accepted = {"docker-daemon"};

  EXPECT_FALSE(store_->may_run(id));
  ASSERT_TRUE(store_->release("container"));
  EXPECT_TRUE(store_->may_run(id)) << "of what nobody has, nothing is known";
}

}  // namespace
}  // namespace images
