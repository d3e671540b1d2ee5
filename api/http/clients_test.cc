#include "api/http/clients.h"

#include <gtest/gtest.h>

namespace http {
namespace {

using namespace std::chrono_literals;
using State = Activity::State;

class ClientsTest : public testing::Test {
 protected:
  /// A connection that has been in `state` for some time.
  Clients::Place open(ClientId client, State state, std::chrono::seconds since = 0s) {
    const int number = next_++;
    const auto place = clients_.add(
        {.client = client, .socket = number, .end = [this, number] { ended_.push_back(number); }});
    place->activity = {.state = state, .since = Activity::Clock::now() - since};
    return place;
  }
  bool make_room(ClientId client) {
    return clients_.make_room(client, [this](int socket) { return socket == with_input_; });
  }

  static constexpr ClientId kMany{.uid = 0, .pid = 10};
  static constexpr ClientId kOther{.uid = 0, .pid = 20};

  Clients clients_{{.connections = 4, .crowded = 2, .idle = 100s, .idle_when_crowded = 10s}};
  int next_ = 0;
  int with_input_ = -1;
  std::vector<int> ended_;
};

TEST_F(ClientsTest, EndsNobodyWhileThereIsRoom) {
  open(kMany, State::kIdle, 1000s);

  EXPECT_TRUE(make_room(kOther));
  EXPECT_TRUE(ended_.empty());
}

TEST_F(ClientsTest, EndsTheLongestIdleOfTheClientWithTheMost) {
  open(kOther, State::kIdle, 50s);
  open(kMany, State::kIdle, 1s);
  open(kMany, State::kIdle, 2s);
  open({.uid = 0, .pid = 30}, State::kServing);

  EXPECT_TRUE(make_room(kOther));

  EXPECT_EQ(ended_, std::vector<int>{2});
}

TEST_F(ClientsTest, LeavesAnIdleOneWhoseRequestHasJustCome) {
  open(kMany, State::kIdle, 9s);
  open(kMany, State::kIdle, 8s);
  open(kMany, State::kServing);
  open(kOther, State::kServing);
  with_input_ = 0;

  EXPECT_TRUE(make_room(kOther));

  EXPECT_EQ(ended_, std::vector<int>{1});
}

TEST_F(ClientsTest, EndsUnfinishedRequestsForAClientWithFewer) {
  open(kMany, State::kBody, 1s);
  open(kMany, State::kBody, 2s);
  open(kMany, State::kHead, 1s);
  open(kOther, State::kServing);

  EXPECT_TRUE(make_room({.uid = 0, .pid = 30}));
  EXPECT_TRUE(make_room(kOther));
  EXPECT_EQ(ended_, std::vector<int>{2});
}

TEST_F(ClientsTest, StalledRequestsMakeWayForTheirOwnClientToo) {
  const auto stalled = open(kMany, State::kBody);
  open(kMany, State::kBody);
  open(kMany, State::kBody);

  EXPECT_FALSE(make_room(kMany)) << "three of four are its share";
  stalled->activity.since -= Clients::kStalled;
  EXPECT_TRUE(make_room(kMany));

  EXPECT_EQ(ended_, std::vector<int>{0});
}

TEST_F(ClientsTest, NeverEndsWhatIsBeingServed) {
  open(kMany, State::kServing, 1000s);
  open(kMany, State::kServing, 1000s);
  open(kOther, State::kServing, 1000s);
  open(kOther, State::kServing, 1000s);

  EXPECT_FALSE(make_room({.uid = 5, .pid = 30}));
  EXPECT_TRUE(ended_.empty());
}

TEST_F(ClientsTest, KeepsAQuarterOfThePlacesFromEveryProcessAndUser) {
  for (int i = 0; i < 3; ++i) open({.uid = 7, .pid = 100 + i}, State::kServing);

  EXPECT_FALSE(make_room({.uid = 7, .pid = 200}));
  EXPECT_TRUE(make_room({.uid = 8, .pid = 300}));
}

TEST_F(ClientsTest, AUserWithItsShareMakesRoomOfItsOwn) {
  open({.uid = 7, .pid = 100}, State::kServing);
  open({.uid = 7, .pid = 101}, State::kServing);
  open({.uid = 7, .pid = 102}, State::kIdle);
  open({.uid = 8, .pid = 300}, State::kIdle, 99s);

  EXPECT_TRUE(make_room({.uid = 7, .pid = 200}));

  EXPECT_EQ(ended_, std::vector<int>{2});
}

TEST_F(ClientsTest, EndsIdleOnesSoonerWhenThereAreMany) {
  open(kMany, State::kIdle, 20s);
  const auto second = open(kMany, State::kServing, 500s);
  const auto now = Activity::Clock::now();

  clients_.end_idle(now, [](int) { return false; });
  EXPECT_TRUE(ended_.empty());
  const auto third = open(kOther, State::kIdle, 1s);
  clients_.end_idle(now, [](int) { return false; });
  EXPECT_EQ(ended_, std::vector<int>{0});

  clients_.remove(second);
  clients_.remove(third);
  EXPECT_EQ(clients_.size(), 1u) << "it has not gone yet";
}

}  // namespace
}  // namespace http
