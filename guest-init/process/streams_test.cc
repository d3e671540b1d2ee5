#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

#include "guest-init/process/input_stream.h"
#include "guest-init/process/output_stream.h"
#include "guest-init/protocol/messages.h"

namespace guest_init {
namespace {

struct Ends {
  base::UniqueFd a;
  base::UniqueFd b;
};

Ends socket_pair() {
  std::array<int, 2> fds{};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()), 0);
  return {base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

Ends pipe_pair() {
  std::array<int, 2> fds{};
  EXPECT_EQ(pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK), 0);
  return {base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

std::string read_now(const base::UniqueFd& fd) {
  std::string text(1u << 20, '\0');
  const ssize_t size = read(fd.get(), text.data(), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

void write_now(const base::UniqueFd& fd, const std::string& text) {
  ASSERT_EQ(write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

void acknowledge(const base::UniqueFd& fd, std::uint64_t position) {
  wire::Encoder encoder;
  encoder.put(position);
  const wire::Bytes bytes = std::move(encoder).take();
  ASSERT_EQ(write(fd.get(), bytes.data(), bytes.size()), 8);
}

class OutputStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loop = PollLoop::create();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
    process_ = pipe_pair();
    stream_ = std::make_unique<OutputStream>(*loop_, std::move(process_.a), [this] { ++ends_; });
    ASSERT_TRUE(stream_->start());
  }

  std::unique_ptr<PollLoop> loop_;
  Ends process_;
  int ends_ = 0;
  std::unique_ptr<OutputStream> stream_;
};

TEST_F(OutputStreamTest, KeepsOutputUntilAConnectionComes) {
  write_now(process_.b, "early");
  loop_->run_once(0);
  Ends host = socket_pair();

  stream_->attach(std::move(host.a), 0);

  EXPECT_EQ(read_now(host.b), "early");
  EXPECT_EQ(stream_->acknowledged(), 0u);
}

TEST_F(OutputStreamTest, ClosesAConnectionThatWantsWhatIsGone) {
  write_now(process_.b, "0123456789");
  loop_->run_once(0);
  Ends first = socket_pair();
  stream_->attach(std::move(first.a), 0);
  acknowledge(first.b, 5);
  loop_->run_once(0);
  Ends second = socket_pair();

  stream_->attach(std::move(second.a), 4);

  EXPECT_EQ(recv(second.b.get(), nullptr, 0, 0), 0);
  EXPECT_EQ(stream_->acknowledged(), 5u);
}

TEST_F(OutputStreamTest, EndsOnceAndHalfClosesAfterTheLastByte) {
  Ends host = socket_pair();
  stream_->attach(std::move(host.a), 0);
  write_now(process_.b, "last");
  process_.b.reset();

  while (ends_ == 0) loop_->run_once();

  EXPECT_EQ(ends_, 1);
  EXPECT_EQ(read_now(host.b), "last");
  char byte = 0;
  EXPECT_EQ(read(host.b.get(), &byte, 1), 0);
}

TEST_F(OutputStreamTest, PassesATerminalsOutputOnToItsEnd) {
  int master = -1;
  int slave = -1;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  base::UniqueFd program(slave);
  fcntl(master, F_SETFL, O_NONBLOCK);
  OutputStream stream(*loop_, base::UniqueFd(master), [this] { ++ends_; });
  ASSERT_TRUE(stream.start());
  Ends host = socket_pair();
  stream.attach(std::move(host.a), 0);

  write_now(program, "one\ntwo\n");
  std::string received;
  while (received.size() < 10) {
    loop_->run_once(-1);
    received += read_now(host.b);
  }
  program.reset();
  while (!stream.ended()) loop_->run_once(-1);

  EXPECT_EQ(received, "one\r\ntwo\r\n");
  EXPECT_EQ(ends_, 1);
  EXPECT_EQ(stream.length(), 10u);
}

TEST_F(OutputStreamTest, CutsOffWhatOthersWriteAfterTheEnd) {
  write_now(process_.b, "mine");
  stream_->process_exited(true);
  EXPECT_EQ(ends_, 1);

  write_now(process_.b, "not mine");
  loop_->run_once(0);

  EXPECT_EQ(stream_->length(), 4u);
  EXPECT_EQ(ends_, 1);
}

TEST_F(OutputStreamTest, IgnoresAcknowledgementsOfBytesItNeverSent) {
  write_now(process_.b, "abc");
  loop_->run_once(0);
  Ends host = socket_pair();
  stream_->attach(std::move(host.a), 0);

  acknowledge(host.b, 1000);
  loop_->run_once(0);

  EXPECT_EQ(stream_->acknowledged(), 0u);
}

class InputStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);  // guest-init is PID 1, which the kernel spares from it
    auto loop = PollLoop::create();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
    process_ = pipe_pair();
    host_ = socket_pair();
    stream_ = std::make_unique<InputStream>(*loop_, std::move(process_.b), false);
    ASSERT_TRUE(stream_->start());
    stream_->attach(std::move(host_.a));
  }

  std::unique_ptr<PollLoop> loop_;
  Ends process_;
  Ends host_;
  std::unique_ptr<InputStream> stream_;
};

TEST_F(InputStreamTest, PassesBytesAndEndOfFile) {
  write_now(host_.b, "typed");
  loop_->run_once(0);
  EXPECT_EQ(read_now(process_.a), "typed");

  shutdown(host_.b.get(), SHUT_WR);
  loop_->run_once(0);

  char byte = 0;
  EXPECT_EQ(read(process_.a.get(), &byte, 1), 0);
}

TEST_F(InputStreamTest, OutlivesAHostThatIsGone) {
  write_now(host_.b, "typed");
  host_.b.reset();
  loop_->run_once(0);
  loop_->run_once(0);
  EXPECT_EQ(read_now(process_.a), "typed");

  Ends next = socket_pair();
  stream_->attach(std::move(next.a));
  write_now(next.b, "on");
  loop_->run_once(0);

  EXPECT_EQ(read_now(process_.a), "on");
}

TEST_F(InputStreamTest, TakesNoMoreThanTheProcessReads) {
  const std::string chunk(32u << 10, 'x');
  std::size_t sent = 0;
  for (int idle = 0; idle < 3;) {
    const ssize_t size = write(host_.b.get(), chunk.data(), chunk.size());
    if (size > 0) sent += static_cast<std::size_t>(size);
    idle = size > 0 ? 0 : idle + 1;
    if (size > 0) loop_->run_once(0);
  }

  std::size_t received = 0;
  while (received < sent) {
    const std::size_t size = read_now(process_.a).size();
    received += size;
    loop_->run_once(0);
  }

  EXPECT_EQ(received, sent);
}

TEST_F(InputStreamTest, ClosesTheConnectionWhenNobodyReads) {
  process_.a.reset();
  write_now(host_.b, "lost");

  loop_->run_once(0);

  char byte = 0;
  EXPECT_LE(read(host_.b.get(), &byte, 1), 0);
}

}  // namespace
}  // namespace guest_init
