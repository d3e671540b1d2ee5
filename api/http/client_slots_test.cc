#include "api/http/client_slots.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <string>

namespace http {
namespace {

class ClientSlotsTest : public testing::Test {
 protected:
  /// Takes a slot for good, or until release() of its name.
  net::awaitable<void> hold(char name, ClientId client) {
    async::Notifier& released = released_.emplace(name, io_.get_executor()).first->second;
    const ClientSlots::Slot slot = co_await slots_.take(client);
    order_ += name;
    co_await released.wait();
  }
  void start(char name, ClientId client) {
    net::co_spawn(io_, hold(name, client),
                  net::bind_cancellation_slot(cancel_[name].slot(), net::detached));
    settle();
  }
  void release(char name) {
    released_.at(name).notify_all();
    settle();
  }
  void settle() {
    io_.restart();
    io_.poll();
  }

  static constexpr ClientId kFirst{.uid = 0, .pid = 1};
  static constexpr ClientId kSecond{.uid = 0, .pid = 2};
  static constexpr ClientId kOtherUser{.uid = 7, .pid = 3};

  net::io_context io_;
  ClientSlots slots_{io_.get_executor(), 3, 2};
  std::map<char, async::Notifier> released_;
  std::map<char, net::cancellation_signal> cancel_;
  std::string order_;
};

TEST_F(ClientSlotsTest, AProcessHasAtMostItsShare) {
  start('a', kFirst);
  start('b', kFirst);
  start('c', kFirst);
  start('d', kSecond);

  EXPECT_EQ(order_, "abd");
  release('a');
  EXPECT_EQ(order_, "abdc");
}

TEST_F(ClientSlotsTest, TheNextIsWhoseUserAndProcessHaveTheFewest) {
  start('a', kFirst);
  start('b', kFirst);
  start('c', kSecond);
  start('d', kSecond);
  start('e', kOtherUser);

  release('a');
  release('b');

  EXPECT_EQ(order_, "abced");
}

TEST_F(ClientSlotsTest, AWaiterThatIsCancelledGivesUpItsTurn) {
  start('a', kFirst);
  start('b', kFirst);
  start('c', kSecond);
  start('d', kSecond);
  start('e', kSecond);

  cancel_['d'].emit(net::cancellation_type::terminal);
  settle();
  release('a');

  EXPECT_EQ(order_, "abce");
}

}  // namespace
}  // namespace http
