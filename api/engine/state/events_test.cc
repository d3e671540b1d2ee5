#include "api/engine/state/events.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>

namespace engine {
namespace {

class EventsTest : public testing::Test {
 protected:
  EventsTest() {
    char name[] = "/tmp/containervm-events-XXXXXX";
    directory_ = ::mkdtemp(name);
    open();
  }
  ~EventsTest() override {
    events_.reset();
    database_.reset();
    std::filesystem::remove_all(directory_);
  }

  /// Again: a restart of the daemon.
  void open() {
    events_.reset();
    database_.reset();
    auto database = Database::open(directory_ / "db");
    ASSERT_TRUE(database);
    database_ = *std::move(database);
    events_ = std::make_unique<Events>(io_.get_executor(), *database_);
    ASSERT_TRUE(events_->load());
  }

  void publish(int from, int to) {
    for (int i = from; i < to; ++i)
      events_->publish({.type = "container",
                        .action = std::to_string(i),
                        .actor = "id",
                        .attributes = {{"name", "web"}},
                        .time = i + 1});
  }

  std::vector<int> read_from(Events::Cursor cursor) {
    std::vector<int> numbers;
    while (const auto event = events_->next(cursor)) numbers.push_back(std::stoi(event->action));
    return numbers;
  }

  static std::vector<int> numbers(int from, int to) {
    std::vector<int> all;
    for (int i = from; i < to; ++i) all.push_back(i);
    return all;
  }

  std::int64_t logged() {
    std::int64_t rows = -1;
    EXPECT_TRUE(database_->run("SELECT COUNT(*) FROM events", {},
                               [&](const Database::Row& row) { rows = row.integer(0); }));
    return rows;
  }

  net::io_context io_{1};
  std::filesystem::path directory_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Events> events_;
};

TEST_F(EventsTest, AreNoneInTheBeginning) {
  EXPECT_EQ(read_from(Events::kBeginning), numbers(0, 0));
  publish(0, 2);
  EXPECT_EQ(read_from(Events::kBeginning), numbers(0, 2));
}

TEST_F(EventsTest, AreReadInTheirOrder) {
  publish(0, 5);

  EXPECT_EQ(read_from(Events::kBeginning), numbers(0, 5));
  EXPECT_TRUE(read_from(events_->now()).empty());
}

TEST_F(EventsTest, AreNotWrittenWhilePublished) {
  publish(0, 5);
  EXPECT_EQ(logged(), 0);

  events_->flush();

  EXPECT_EQ(logged(), 5);
}

TEST_F(EventsTest, SurviveARestartAndGoOnBehind) {
  publish(0, 3);
  open();

  publish(3, 5);

  EXPECT_EQ(read_from(Events::kBeginning), numbers(0, 5));
  Events::Cursor cursor = Events::kBeginning;
  const auto event = events_->next(cursor);
  EXPECT_EQ(event->attributes.at("name"), "web");
  EXPECT_EQ(event->time, 1);
}

TEST_F(EventsTest, AreFoundByTheirTime) {
  publish(0, 10);
  open();
  publish(10, 20);

  EXPECT_EQ(read_from(events_->at(5 + 1)), numbers(5, 20));
  EXPECT_EQ(read_from(events_->at(15 + 1)), numbers(15, 20));
  EXPECT_EQ(read_from(events_->at(0)), numbers(0, 20));
  EXPECT_TRUE(read_from(events_->at(1000)).empty());
}

TEST_F(EventsTest, ASlowListenerReadsOnFromTheLog) {
  constexpr int kMany = 3 * static_cast<int>(Events::kRecent);
  Events::Cursor cursor = events_->now();

  publish(0, kMany);

  EXPECT_EQ(read_from(cursor), numbers(0, kMany));
}

TEST_F(EventsTest, TheOldestAreForgotten) {
  constexpr int kMost = static_cast<int>(Events::kLogged);

  publish(0, kMost + 100);
  events_->flush();

  EXPECT_EQ(logged(), kMost);
  EXPECT_EQ(read_from(Events::kBeginning), numbers(100, kMost + 100));
}

TEST_F(EventsTest, LargeOnesAreForgottenSooner) {
  constexpr std::size_t kLarge = 1u << 20;
  for (int i = 0; i < 80; ++i)
    events_->publish({.type = "container",
                      .action = std::to_string(i),
                      .actor = "id",
                      .attributes = {{"label", std::string(kLarge, 'x')}},
                      .time = i + 1});
  events_->flush();

  const std::vector<int> kept = read_from(Events::kBeginning);

  EXPECT_LE(kept.size() * kLarge, static_cast<std::size_t>(Events::kLoggedBytes));
  EXPECT_GE(kept.size(), 20u);
  EXPECT_EQ(kept.back(), 79);
}

TEST_F(EventsTest, ARowThatIsDamagedIsLeftOut) {
  publish(0, 5);
  events_->flush();
  ASSERT_TRUE(database_->run("UPDATE events SET event = '{\"type\":7}' WHERE sequence = 2"));
  ASSERT_TRUE(database_->run("UPDATE events SET event = 'nonsense' WHERE sequence = 3"));
  ASSERT_TRUE(database_->run("UPDATE events SET event = '{\"attributes\":[]}' WHERE sequence = 4"));

  open();

  EXPECT_EQ(read_from(Events::kBeginning), (std::vector<int>{0, 4}));
}

TEST_F(EventsTest, ANumberThatNoDaemonComesToBeginsTheLogAnew) {
  publish(0, 3);
  events_->flush();
  ASSERT_TRUE(
      database_->run("UPDATE events SET sequence = 9223372036854775807 WHERE sequence = 2"));

  open();
  publish(5, 7);

  EXPECT_EQ(read_from(Events::kBeginning), numbers(5, 7));
  events_->flush();
  open();
  EXPECT_EQ(read_from(Events::kBeginning), numbers(5, 7));
}

}  // namespace
}  // namespace engine
