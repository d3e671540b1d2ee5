#include "vmm/emulated/link/streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "vmm/emulated/link/socket_pair.h"

namespace emulated {
namespace {

class StreamsTest : public testing::Test {
 protected:
  StreamsTest() : channel_(std::move(sockets_.left)), peer_(std::move(sockets_.right)) {
    ::signal(SIGPIPE, SIG_IGN);
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    read_end_.reset(fds[0]);
    write_end_.reset(fds[1]);
  }

  /// What the channel's other side has received so far.
  std::vector<wire::RawFrame> received() {
    std::vector<wire::RawFrame> frames;
    for (bool more = true; more;) {
      EXPECT_TRUE(channel_.flush());
      EXPECT_TRUE(peer_.fill());
      more = false;
      while (auto frame = *peer_.next()) {
        frames.push_back(std::move(*frame));
        more = true;
      }
    }
    return frames;
  }

  void fill_pipe(std::size_t size) {
    const std::string text(size, 'x');
    ASSERT_EQ(::write(write_end_.get(), text.data(), size), static_cast<ssize_t>(size));
  }

  SocketPair sockets_;
  Channel channel_;
  Channel peer_;
  base::UniqueFd read_end_;
  base::UniqueFd write_end_;
};

TEST_F(StreamsTest, ASourceSendsBytesAndThenItsEnd) {
  Source source(StreamName::kStdout, std::move(read_end_));
  fill_pipe(3);
  source.on_ready(channel_);
  write_end_.reset();
  source.on_ready(channel_);

  const auto frames = received();

  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(expect<Data>(frames[0])->bytes.size(), 3u);
  EXPECT_EQ(expect<Close>(frames[1])->stream, StreamName::kStdout);
  EXPECT_FALSE(source.open());
}

TEST_F(StreamsTest, ASourceStopsAtItsWindowAndGoesOnWithCredit) {
  Source source(StreamName::kStdout, std::move(read_end_));
  std::size_t sent = 0;
  while (source.wants_to_read()) {
    fill_pipe(kMaxChunk);
    source.on_ready(channel_);
    for (const auto& frame : received()) sent += expect<Data>(frame)->bytes.size();
  }
  EXPECT_EQ(sent, kWindow);

  ASSERT_TRUE(source.on_credit(10));

  EXPECT_TRUE(source.wants_to_read());
}

TEST_F(StreamsTest, ASourceRefusesCreditForWhatItNeverSent) {
  Source source(StreamName::kStdout, std::move(read_end_));

  EXPECT_EQ(source.on_credit(1).error().code, base::Code::kDataLoss);
}

TEST_F(StreamsTest, ASinkReturnsCreditForWhatItWrote) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  ASSERT_TRUE(sink.on_data(wire::Bytes(100), channel_));

  sink.on_ready(channel_);

  const auto frames = received();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(expect<Credit>(frames[0])->bytes, 100u);
  EXPECT_TRUE(sink.drained());
}

TEST_F(StreamsTest, ASinksOwnByteIsWrittenLastAndNobodysCredit) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  ASSERT_TRUE(sink.on_data(wire::Bytes(3, std::byte{'x'}), channel_));
  sink.add_own(std::byte{4});
  sink.on_ready(channel_);
  char written[8] = {};

  EXPECT_EQ(::read(read_end_.get(), written, sizeof written), 4);
  EXPECT_EQ(written[3], 4);
  const auto frames = received();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(expect<Credit>(frames[0])->bytes, 3u);
}

TEST_F(StreamsTest, ASinkRefusesDataBeyondTheWindow) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  for (std::size_t size = 0; size < kWindow; size += kMaxChunk)
    ASSERT_TRUE(sink.on_data(wire::Bytes(kMaxChunk), channel_));

  EXPECT_EQ(sink.on_data(wire::Bytes(1), channel_).error().code, base::Code::kDataLoss);
}

TEST_F(StreamsTest, ASinkRefusesDataAfterTheEnd) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  sink.on_close();

  EXPECT_FALSE(sink.on_data(wire::Bytes(1), channel_));
}

TEST_F(StreamsTest, ASinkClosesOnlyAfterTheLastByteIsWritten) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  ASSERT_TRUE(sink.on_data(wire::Bytes(5), channel_));
  sink.on_close();
  EXPECT_TRUE(sink.open());

  sink.on_ready(channel_);

  char buffer[8];
  EXPECT_FALSE(sink.open());
  EXPECT_EQ(::read(read_end_.get(), buffer, sizeof buffer), 5);
  EXPECT_EQ(::read(read_end_.get(), buffer, sizeof buffer), 0);
}

TEST_F(StreamsTest, ASinkThatNobodyReadsTellsItsSender) {
  Sink sink(StreamName::kStdin, std::move(write_end_));
  read_end_.reset();
  ASSERT_TRUE(sink.on_data(wire::Bytes(7), channel_));

  sink.on_ready(channel_);

  const auto frames = received();
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(expect<Credit>(frames[0])->bytes, 7u);
  EXPECT_TRUE(expect<Close>(frames[1]));
}

}  // namespace
}  // namespace emulated
