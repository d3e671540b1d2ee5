#include "api/engine/state/database.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <fstream>

#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

/// What the first version of the program made.
constexpr const char* kFirstVersion = R"(
  CREATE TABLE containers (id TEXT PRIMARY KEY, tenant TEXT NOT NULL DEFAULT 'default', name TEXT NOT NULL,
                           created_ns INTEGER NOT NULL, image_id TEXT NOT NULL, settings TEXT NOT NULL,
                           state TEXT NOT NULL, UNIQUE (tenant, name)) WITHOUT ROWID;
  CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL DEFAULT 'default',
                       time_ns INTEGER NOT NULL, event TEXT NOT NULL);
  PRAGMA user_version = 1;)";

class DatabaseTest : public fakes::EngineFixture {
 protected:
  /// As if the daemon had ended.
  void close() {
    health_.reset();
    execs_.reset();
    containers_.reset();
    volumes_.reset();
    events_.reset();
    database_.reset();
  }

  /// Runs a script on a file by SQLite itself, beside the program.
  static void run(const std::string& path, const std::string& script) {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(handle, script.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_free(error);
    sqlite3_close(handle);
  }

  const std::string path_ = (directory_ / "containers.db").string();
};

TEST_F(DatabaseTest, BringsOneOfTheFirstVersionUpToDate) {
  const std::string id = create({"true"}, {{"Memory", 64 << 20}})->id;
  close();
  const std::string first = (directory_ / "first.db").string();
  run(first, std::string(kFirstVersion) + "ATTACH '" + path_ +
                 "' AS newest; INSERT INTO containers SELECT id, tenant, name, created_ns, "
                 "image_id, settings, state FROM newest.containers;");
  std::filesystem::rename(first, path_);

  open();

  const auto found = containers_->find(id);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->settings.document.host_config.at("Memory"), 64 << 20);
  EXPECT_TRUE((*found)->mounts.empty());
  create({"true"}, {{"Binds", {"data:/data"}}});
  close();
  open();
  EXPECT_TRUE(volumes_->find("data"));
}

TEST_F(DatabaseTest, LeavesOneOfALaterVersionAlone) {
  close();
  run(path_, "PRAGMA user_version = 1000;");

  const auto opened = Database::open(path_);

  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, base::Code::kDataLoss);
  EXPECT_NE(opened.error().message.find("use a newer one"), std::string::npos);
  std::filesystem::remove(path_);  // the fixture's end wants one that it can open
  open();
}

TEST_F(DatabaseTest, SaysThatAFileIsNoDatabase) {
  const std::string other = (directory_ / "other.db").string();
  std::ofstream(other) << std::string(8192, 'x');

  const auto opened = Database::open(other);

  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, base::Code::kDataLoss);
}

}  // namespace
}  // namespace engine
