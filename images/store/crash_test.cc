// A store that is killed at any moment is whole when it is opened again.
//
// A child process changes the store at random until it is killed; then the store is opened and
// looked through. Again and again on the same directory, so that what a crash left is built upon.
// CONTAINERVM_CRASHES: how often (20); CONTAINERVM_CRASH_SEED: repeats the choices of a run that
// failed (not its moments). A new way to change a store is one more entry in kSteps.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "images/store/catalog/sqlite.h"
#include "images/store/store.h"
#include "images/store/streams/digest.h"
#include "images/store/testing/archives.h"
#include "images/store/testing/temporary_directory.h"

namespace images {
namespace {

namespace fs = std::filesystem;
using testing::TarBuilder;

constexpr std::size_t kDifferentLayers = 12;  // few, so that images share them
constexpr int kHolders = 4;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

StoreOptions options_for(const std::string& root) {
  StoreOptions options;
  options.root = root;
  options.layer_tool = CONTAINERVM_LAYER;
  return options;
}

std::string layer(std::size_t number) {
  TarBuilder tar;
  for (std::size_t i = 0; i <= number; ++i)
    tar.file("file" + std::to_string(i), std::string(1000 * (number + 1), 'x'));
  return tar.hard_link("link", "file0").file(".wh.gone", "").finish();
}

/// What the child does.
class Worker {
 public:
  Worker(Store& store, std::uint64_t seed) : store_(store), random_(seed) {}

  [[noreturn]] void run() {
    for (;;) (this->*kSteps[pick(std::size(kSteps))])();
  }

 private:
  using Step = void (Worker::*)();

  std::size_t pick(std::size_t below) { return random_() % below; }
  std::string name() { return "image" + std::to_string(pick(5)) + ":" + std::to_string(pick(2)); }
  std::string holder() { return "holder" + std::to_string(pick(kHolders)); }
  /// The ID of one of the images, or a name that may be none.
  std::string some_image() {
    const auto images = store_.list({});
    return images && !images->empty() ? (*images)[pick(images->size())].id : name();
  }

  // Steps may fail (nothing to remove, in use): only the store's state counts.
  void load() {
    std::vector<testing::ImageParts> parts(1 + pick(3));
    for (auto& image : parts) {
      for (std::size_t i = 0; i <= pick(4); ++i)
        image.layers.push_back(layer(pick(kDifferentLayers)));
      for (std::size_t i = 0; i < pick(3); ++i) image.tags.push_back(name());
    }
    const std::string archive = testing::docker_archive(parts);
    SpanSource source(std::as_bytes(std::span(archive)));
    (void)store_.load(source, {});
  }
  void import() {
    const std::string tar = layer(pick(kDifferentLayers));
    SpanSource source(std::as_bytes(std::span(tar)));
    (void)store_.import(
        source,
        {.repository_and_tag = pick(2) ? name() : "", .changes = {}, .message = {}, .source = "-"});
  }
  void commit() {
    CommitOptions options;
    options.parent = some_image();
    options.config = options.container_config = "{}";
    if (pick(2)) options.repository_and_tag = name();
    const std::string tar = layer(pick(kDifferentLayers));
    SpanSource source(std::as_bytes(std::span(tar)));
    (void)store_.commit(source, options);
  }
  void tag() { (void)store_.tag(some_image(), name()); }
  void remove() {
    (void)store_.remove(pick(2) ? name() : some_image(),
                        {.force = pick(2) == 0, .prune_parents = pick(4) != 0, .running = {}});
  }
  void prune() {
    PruneOptions options;
    options.dangling_only = pick(4) != 0;
    (void)store_.prune(options);
  }
  void hold() { (void)store_.hold(holder(), some_image()); }
  void release() { (void)store_.release(holder()); }

  static constexpr Step kSteps[] = {
      &Worker::load, &Worker::load,   &Worker::import, &Worker::commit, &Worker::commit,
      &Worker::tag,  &Worker::remove, &Worker::prune,  &Worker::hold,   &Worker::release};

  Store& store_;
  std::mt19937_64 random_;
};

/// Runs a worker for about `time`, kills it, and waits until its helpers have gone, too.
void work_and_crash(const std::string& root, std::uint64_t seed, std::chrono::microseconds time) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = Store::open(options_for(root));
    if (!store) ::_exit(1);
    Worker(**store, seed).run();
  }
  std::this_thread::sleep_for(time);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the worker could not open the store";
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
  return names;
}

std::uint64_t allocated_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  for (const std::string& name : names_in(directory)) {
    struct stat status {};
    if (::stat((directory + "/" + name).c_str(), &status) == 0)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

/// Every row that the query gives, which should be none.
std::vector<std::string> rows_of(Database& database, std::string_view query) {
  std::vector<std::string> rows;
  auto statement = database.prepare(query);
  EXPECT_TRUE(statement) << statement.error().message;
  while (statement) {
    const auto more = statement->step();
    EXPECT_TRUE(more);
    if (!more || !*more) break;
    rows.push_back(statement->text(0));
  }
  return rows;
}

void check_database(const std::string& root) {
  auto database = Database::open(root + "/images.db");
  ASSERT_TRUE(database) << database.error().message;
  EXPECT_EQ(rows_of(*database, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
  const std::vector<std::string> none;
  EXPECT_EQ(rows_of(*database, "PRAGMA foreign_key_check"), none);
  EXPECT_EQ(rows_of(*database,
                    "SELECT id FROM images WHERE parent <> '' AND parent NOT IN"
                    " (SELECT id FROM images)"),
            none);
  EXPECT_EQ(rows_of(*database,
                    "SELECT id FROM images WHERE id NOT IN"
                    " (SELECT image_id FROM origins)"),
            none);
  EXPECT_EQ(rows_of(*database,
                    "SELECT image_id FROM origins WHERE image_id NOT IN"
                    " (SELECT id FROM images UNION SELECT image_id FROM holders)"),
            none);
}

/// The images' bytes, and that there are no other files than theirs. Counts the layers.
void check_store(const std::string& root, std::size_t& layers_seen) {
  auto store = Store::open(options_for(root));
  ASSERT_TRUE(store) << store.error().message;
  std::set<std::string> expected;
  const auto expect = [&](const LayerFile& layer) {
    expected.insert(layer.diff_id.substr(7) + ".erofs");
    expected.insert(layer.diff_id.substr(7) + ".recipe");
  };
  ListFilter all;
  all.all = true;
  const auto images = (*store)->list(all);
  ASSERT_TRUE(images) << images.error().message;
  for (const ImageSummary& summary : *images) {
    const auto image = (*store)->resolve(summary.id);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(digest_of(image->config_json), image->id);
    EXPECT_EQ(image->layers.size(), image->config.diff_ids.size());
    for (const LayerFile& layer : image->layers) expect(layer);
    // save() compares every layer's bytes with its diff ID.
    StringSink sink(64u << 20);
    const auto saved = (*store)->save({summary.id}, sink);
    EXPECT_TRUE(saved) << saved.error().message;
  }
  for (int i = 0; i < kHolders; ++i)
    if (const auto held = (*store)->held_layers("holder" + std::to_string(i)))
      for (const LayerFile& layer : *held) expect(layer);
  EXPECT_EQ(names_in(root + "/layers/default"), expected);
  EXPECT_EQ(names_in(root + "/tmp"), std::set<std::string>());
  layers_seen += expected.size() / 2;
  const auto usage = (*store)->disk_usage();
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->layers_bytes, allocated_bytes(root + "/layers/default"));
}

TEST(StoreCrash, AStoreIsWholeAfterItsProcessWasKilled) {
  const std::uint64_t crashes = number_from("CONTAINERVM_CRASHES", 20);
  const std::uint64_t seed = number_from("CONTAINERVM_CRASH_SEED", std::random_device{}());
  std::cout << "CONTAINERVM_CRASH_SEED=" << seed << "\n";
  // The worker's sandboxed helpers come to us when it dies.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const testing::TemporaryDirectory directory;
  const std::string root = directory / "store";
  std::mt19937_64 random(seed);
  std::size_t layers_seen = 0;

  for (std::uint64_t i = 0; i < crashes && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("crash " + std::to_string(i));
    const std::chrono::microseconds time(random() % 400'000);
    work_and_crash(root, random(), time);
    check_store(root, layers_seen);
    check_database(root);
  }
  std::cout << layers_seen << " layers in " << crashes << " stores\n";
  if (crashes >= 20) {
    EXPECT_GT(layers_seen, 0u) << "nothing was tested";
  }
}

}  // namespace
}  // namespace images
