#include "api/engine/database.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <fstream>

#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

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

  /// By SQLite itself, beside the program.
  void change(const char* script) {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &handle), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(handle, script, nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_free(error);
    sqlite3_close(handle);
  }

  const std::string path_ = (directory_ / "containers.db").string();
};

TEST_F(DatabaseTest, BringsOneOfTheFirstVersionUpToDate) {
  const std::string id = create({"true"}, {{"Memory", 64 << 20}})->id;
  close();
  change("ALTER TABLE containers DROP COLUMN mounts; DROP TABLE volumes; PRAGMA user_version = 1;");

  open();

  const auto found = containers_->find(id);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->settings.host_config.at("Memory"), 64 << 20);
  EXPECT_TRUE((*found)->mounts.empty());
  create({"true"}, {{"Binds", {"data:/data"}}});
  close();
  open();
  EXPECT_TRUE(volumes_->find("data"));
}

TEST_F(DatabaseTest, LeavesOneOfALaterVersionAlone) {
  close();
  change("PRAGMA user_version = 1000;");

  const auto opened = Database::open(path_);

  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, base::Code::kDataLoss);
  EXPECT_NE(opened.error().message.find("use a newer one"), std::string::npos);
  change("PRAGMA user_version = 2;");
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
