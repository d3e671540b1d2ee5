#include "api/machines/monitor/monitor_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "vmm/base/seqpacket.h"

namespace engine {
namespace {

using Answer = MonitorClient::Answer;

/// A client, and the monitor's end of its socket.
class MonitorClientTest : public testing::Test {
 protected:
  MonitorClientTest() {
    auto sockets = base::make_socket_pair(SOCK_SEQPACKET);
    EXPECT_TRUE(sockets);
    monitor_ = std::move(sockets->second);
    client_ = MonitorClient::start(
        context_.get_executor(), std::move(sockets->first),
        {.stopped = {}, .lost = [this](base::Error error) { lost_ = std::move(error); }});
  }
  ~MonitorClientTest() override {
    client_->close();
    settle();
  }

  /// The client asks for something; the number of its request.
  std::uint32_t ask() {
    net::co_spawn(context_, wait_for(client_->send(launch::Run{})), net::detached);
    settle();
    const auto packet = base::receive_packet(monitor_.get(), 4096, 0);
    EXPECT_TRUE(packet);
    const auto frame = base::open_packet(packet->bytes);
    EXPECT_TRUE(frame);
    return wire::decode<launch::Run>(frame->payload)->request;
  }

  template <typename M>
  void tell(const M& message) {
    EXPECT_TRUE(base::send_packet(monitor_.get(), base::packet_of(message), {}));
    settle();
  }

  net::awaitable<void> wait_for(async::Reply<Answer> reply) { answer_ = co_await reply.wait(); }

  void settle() {
    context_.restart();
    context_.poll();
  }

  net::io_context context_;
  base::UniqueFd monitor_;
  std::shared_ptr<MonitorClient> client_;
  std::optional<Answer> answer_;
  std::optional<base::Error> lost_;
};

TEST_F(MonitorClientTest, GivesEachRequestItsAnswer) {
  tell(launch::Status{});
  tell(launch::Done{.request = ask()});

  ASSERT_TRUE(answer_);
  EXPECT_TRUE(*answer_);

  tell(launch::Failed{.request = ask(),
                      .code = static_cast<std::uint8_t>(base::Code::kNotFound),
                      .message = "no such disk"});
  ASSERT_FALSE(*answer_);
  EXPECT_EQ(answer_->error().code, base::Code::kNotFound);
  EXPECT_EQ(answer_->error().message, "no such disk");
  EXPECT_FALSE(lost_);
}

TEST_F(MonitorClientTest, SaysToAllThatWaitWhyTheConnectionEnded) {
  ask();
  tell(launch::Status{.version = launch::kVersion + 1});

  ASSERT_TRUE(lost_);
  EXPECT_EQ(lost_->code, base::Code::kNotSupported);
  ASSERT_TRUE(answer_);
  ASSERT_FALSE(*answer_);
  EXPECT_EQ(answer_->error().code, base::Code::kUnavailable);
  EXPECT_EQ(answer_->error().message,
            "the monitor speaks another version of the protocol: it was not built with this "
            "containervmd");
}

TEST_F(MonitorClientTest, EndsWithAMonitorThatAnswersWhatWasNotAsked) {
  const std::uint32_t request = ask();
  tell(launch::Done{.request = request + 1});

  ASSERT_TRUE(lost_);
  EXPECT_EQ(lost_->code, base::Code::kDataLoss);
  EXPECT_TRUE(answer_ && !*answer_);
}

TEST_F(MonitorClientTest, AnswersWhatIsAskedAfterTheEnd) {
  monitor_.reset();
  settle();
  EXPECT_TRUE(lost_);

  net::co_spawn(context_, wait_for(client_->send(launch::Run{})), net::detached);
  settle();

  ASSERT_TRUE(answer_);
  EXPECT_EQ(answer_->error().code, base::Code::kUnavailable);
}

}  // namespace
}  // namespace engine
