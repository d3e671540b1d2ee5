#include "vmm/emulated/agent/agent_connection.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/socket_pair.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;

constexpr int kPoweredOff = 42;

Token some_token() {
  Token token;
  token.fill(std::byte{0x5a});
  return token;
}

/// The agent's side runs in a child, as it does in the machine.
class AgentConnectionTest : public testing::Test {
 protected:
  AgentConnectionTest() : deadline_(steady_clock::now() + std::chrono::seconds(60)) {
    child_ = ::fork();
    if (child_ == 0) {
      sockets_.left.reset();
      ::signal(SIGPIPE, SIG_IGN);
      int status = 0;
      if (!serve_connection(std::move(sockets_.right), some_token(), [&] { status = kPoweredOff; }))
        status = 1;
      ::_exit(status);
    }
    sockets_.right.reset();
  }

  ~AgentConnectionTest() override {
    if (child_ < 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  int wait_for_agent() {
    int status = 0;
    ::waitpid(std::exchange(child_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  template <typename M>
  void send(const M& message) {
    ASSERT_TRUE(write_all(sockets_.left.get(), wire::frame(message), deadline_));
  }

  template <typename M>
  void request(const M& message) {
    ASSERT_TRUE(write_all(sockets_.left.get(), some_token(), deadline_));
    send(message);
  }

  wire::RawFrame next() {
    auto frame = read_frame(sockets_.left.get(), 1u << 20, deadline_);
    EXPECT_TRUE(frame);
    return frame ? std::move(*frame) : wire::RawFrame();
  }

  /// Plays the client to the end, returning credit for every byte.
  Exited run_to_end() {
    for (;;) {
      const wire::RawFrame frame = next();
      if (const auto exited = expect<Exited>(frame)) {
        sockets_.left.reset();
        return *exited;
      }
      if (const auto data = expect<Data>(frame)) {
        const auto* text = reinterpret_cast<const char*>(data->bytes.data());
        output_[data->stream].append(text, data->bytes.size());
        send(Credit{.stream = data->stream,
                    .bytes = static_cast<std::uint32_t>(data->bytes.size())});
      }
      if (frame.type == 0) return {};
    }
  }

  static StartExec shell(const std::string& script) {
    return {
        .argv = {"sh", "-c", script}, .env = {"PATH=/usr/bin:/bin", "GREETING=hello"}, .cwd = "/"};
  }

  SocketPair sockets_;
  pid_t child_ = -1;
  Deadline deadline_;
  std::map<StreamName, std::string> output_;
};

TEST_F(AgentConnectionTest, AnswersAPing) {
  request(Ping{});

  EXPECT_TRUE(expect<Ready>(next()));
}

TEST_F(AgentConnectionTest, GivesNoAnswerToAWrongToken) {
  Token wrong = some_token();
  wrong.back() ^= std::byte{1};
  ASSERT_TRUE(write_all(sockets_.left.get(), wrong, deadline_));
  // The agent may have hung up by now.
  (void)write_all(sockets_.left.get(), wire::frame(Ping{}), deadline_);

  std::byte byte;
  EXPECT_FALSE(read_exactly(sockets_.left.get(), std::span(&byte, 1), deadline_));
  EXPECT_EQ(wait_for_agent(), 1);
}

TEST_F(AgentConnectionTest, PowersOffOnlyOnRequest) {
  request(PowerOff{});

  EXPECT_TRUE(expect<Ready>(next()));
  EXPECT_EQ(wait_for_agent(), kPoweredOff);
}

TEST_F(AgentConnectionTest, RefusesASocketThatIsNotThere) {
  request(OpenUnix{.path = "/nowhere/at/all.sock"});

  EXPECT_EQ(expect<Refused>(next())->code, base::Code::kNotFound);
}

/// Somebody in the machine who listens, at an address without a file.
class Listener {
 public:
  Listener() : path_(testing::TempDir() + "agent-" + std::to_string(::getpid()) + ".sock") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    ::unlink(path_.c_str());
    socket_ = base::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_.get(), 1), 0);
  }
  ~Listener() { ::unlink(path_.c_str()); }

  const std::string& path() const { return path_; }
  base::UniqueFd accept() {
    return base::UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

 private:
  std::string path_;
  base::UniqueFd socket_;
};

TEST_F(AgentConnectionTest, EndsARelayThatItsClientHasAbandonedThoughNobodyReads) {
  Listener listener;
  const auto name = static_cast<std::uint64_t>(::getpid());
  request(OpenUnix{.path = listener.path(), .name = name});
  ASSERT_TRUE(expect<Ready>(next()));
  const base::UniqueFd server = listener.accept();
  const std::vector<std::byte> much(1u << 20);
  while (::send(sockets_.left.get(), much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
  }

  SocketPair second;
  const wire::Bytes abandon = wire::frame(Abandon{.name = name});
  ASSERT_TRUE(write_all(second.left.get(), some_token(), deadline_));
  ASSERT_TRUE(write_all(second.left.get(), abandon, deadline_));
  ASSERT_TRUE(serve_connection(std::move(second.right), some_token(), [] {}));

  char byte = 0;
  ssize_t got = 1;
  while (got > 0) got = ::recv(server.get(), &byte, 1, 0);
  EXPECT_EQ(got, 0);
  EXPECT_EQ(wait_for_agent(), -1);
}

TEST_F(AgentConnectionTest, SaysThatThereIsNoSuchRelay) {
  request(Abandon{.name = ~std::uint64_t{0}});

  EXPECT_EQ(expect<Refused>(next())->code, base::Code::kUnavailable);
}

/// A UDP port of the loopback.
class UdpServer {
 public:
  /// 0: one that the kernel chooses.
  explicit UdpServer(std::uint16_t port = 0)
      : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const timeval patience{.tv_sec = 60, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in at = loopback(port);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  }

  std::uint16_t port() const {
    sockaddr_in at{};
    socklen_t size = sizeof at;
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
    return ntohs(at.sin_port);
  }

  /// The next datagram; answer() goes to its sender.
  wire::Bytes receive() {
    wire::Bytes bytes(kMaxDatagram);
    socklen_t size = sizeof sender_;
    const ssize_t n = ::recvfrom(socket_.get(), bytes.data(), bytes.size(), 0,
                                 reinterpret_cast<sockaddr*>(&sender_), &size);
    EXPECT_GE(n, 0);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    return bytes;
  }

  void answer(const wire::Bytes& bytes) {
    EXPECT_EQ(::sendto(socket_.get(), bytes.data(), bytes.size(), 0,
                       reinterpret_cast<const sockaddr*>(&sender_), sizeof sender_),
              static_cast<ssize_t>(bytes.size()));
  }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

  base::UniqueFd socket_;
  sockaddr_in sender_{};
};

TEST_F(AgentConnectionTest, CarriesDatagramsToAPortAndBackWhateverTheirSize) {
  UdpServer server;
  request(OpenUdp{.address = "127.0.0.1", .port = server.port()});
  ASSERT_TRUE(expect<Ready>(next()));

  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, kMaxDatagram}) {
    const Datagram question{.bytes = wire::Bytes(size, std::byte{'q'})};
    send(question);
    EXPECT_EQ(server.receive(), question.bytes);
    const auto credit = expect<DatagramCredit>(next());
    ASSERT_TRUE(credit);
    EXPECT_EQ(credit->bytes, wire::frame(question).size());
    server.answer(wire::Bytes(size, std::byte{'a'}));
    const auto answer = expect<Datagram>(next());
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->bytes, wire::Bytes(size, std::byte{'a'}));
  }
}

TEST_F(AgentConnectionTest, ARefusedDatagramEndsNothing) {
  const std::uint16_t port = UdpServer().port();
  request(OpenUdp{.address = "127.0.0.1", .port = port});
  ASSERT_TRUE(expect<Ready>(next()));
  for (int i = 0; i < 3; ++i) {
    send(Datagram{.bytes = wire::Bytes(1)});
    EXPECT_TRUE(expect<DatagramCredit>(next()));
  }

  UdpServer server(port);
  send(Datagram{.bytes = wire::Bytes(2)});

  EXPECT_EQ(server.receive().size(), 2u);
}

TEST_F(AgentConnectionTest, RefusesToSendDatagramsToWhatIsNoAddress) {
  request(OpenUdp{.address = "nowhere", .port = 53});

  EXPECT_EQ(expect<Refused>(next())->code, base::Code::kInvalidArgument);
}

TEST_F(AgentConnectionTest, EndsWithTheHostsSideOfItsDatagrams) {
  UdpServer server;
  request(OpenUdp{.address = "127.0.0.1", .port = server.port()});
  ASSERT_TRUE(expect<Ready>(next()));

  sockets_.left.reset();

  EXPECT_EQ(wait_for_agent(), 0);
}

TEST_F(AgentConnectionTest, EndsDatagramsOfAHostThatBreaksTheProtocol) {
  UdpServer server;
  request(OpenUdp{.address = "127.0.0.1", .port = server.port()});
  ASSERT_TRUE(expect<Ready>(next()));

  send(DatagramCredit{.bytes = 1});

  EXPECT_EQ(wait_for_agent(), 1);
}

TEST_F(AgentConnectionTest, TheLastOfSeveralValuesOfAVariableCounts) {
  request(StartExec{
      .argv = {"env"}, .env = {"PATH=/nowhere", "PATH=/usr/bin:/bin", "A=1", "A=2"}, .cwd = "/"});

  ASSERT_TRUE(expect<Ready>(next()));
  EXPECT_EQ(run_to_end().number, 0u);
  EXPECT_EQ(output_[StreamName::kStdout], "PATH=/usr/bin:/bin\nA=2\n");
}

TEST_F(AgentConnectionTest, RunsACommandWithItsEnvironmentAndSeparateStreams) {
  request(shell("echo $GREETING; echo bad >&2; pwd; exit 7"));
  ASSERT_TRUE(expect<Ready>(next()));

  const Exited exited = run_to_end();

  EXPECT_FALSE(exited.signaled);
  EXPECT_EQ(exited.number, 7u);
  EXPECT_EQ(output_[StreamName::kStdout], "hello\n/\n");
  EXPECT_EQ(output_[StreamName::kStderr], "bad\n");
}

TEST_F(AgentConnectionTest, FeedsStandardInputUntilItsEnd) {
  request(shell("cat; echo end"));
  ASSERT_TRUE(expect<Ready>(next()));
  send(Data{.stream = StreamName::kStdin, .bytes = wire::Bytes(3, std::byte{'a'})});
  send(Close{.stream = StreamName::kStdin});

  run_to_end();

  EXPECT_EQ(output_[StreamName::kStdout], "aaaend\n");
}

TEST_F(AgentConnectionTest, LosesNoOutputOfAProcessThatExitsAtOnce) {
  request(shell("head -c 1000000 /dev/zero; echo last >&2"));
  ASSERT_TRUE(expect<Ready>(next()));

  run_to_end();

  EXPECT_EQ(output_[StreamName::kStdout].size(), 1'000'000u);
  EXPECT_EQ(output_[StreamName::kStderr], "last\n");
}

TEST_F(AgentConnectionTest, ReportsADeathBySignal) {
  request(shell("sleep 1000"));
  ASSERT_TRUE(expect<Ready>(next()));
  send(Signal{.number = SIGTERM});

  const Exited exited = run_to_end();

  EXPECT_TRUE(exited.signaled);
  EXPECT_EQ(exited.number, static_cast<std::uint32_t>(SIGTERM));
}

TEST_F(AgentConnectionTest, SaysThatACommandDoesNotExist) {
  StartExec missing = shell("");
  missing.argv = {"no-such-command"};
  request(missing);

  EXPECT_EQ(expect<Refused>(next())->code, base::Code::kNotFound);
}

TEST_F(AgentConnectionTest, KillsTheProcessGroupWhenTheClientIsLost) {
  request(shell("trap '' TERM; echo $$; while :; do sleep 1; done"));
  ASSERT_TRUE(expect<Ready>(next()));
  const auto data = expect<Data>(next());
  ASSERT_TRUE(data);
  const pid_t process = std::atoi(reinterpret_cast<const char*>(data->bytes.data()));
  ASSERT_EQ(::kill(process, 0), 0);

  sockets_.left.reset();

  EXPECT_EQ(wait_for_agent(), 0);
  // Whoever inherits the shell's own child may take a moment to reap it.
  while (::kill(-process, 0) == 0 && steady_clock::now() < deadline_) ::usleep(1000);
  EXPECT_EQ(::kill(-process, 0), -1);
}

TEST_F(AgentConnectionTest, GivesATerminalOfTheRightSize) {
  StartExec request_with_tty = shell("stty size; tty >/dev/null && echo terminal");
  request_with_tty.tty = true;
  request_with_tty.rows = 33;
  request_with_tty.columns = 77;
  request(request_with_tty);
  ASSERT_TRUE(expect<Ready>(next()));

  run_to_end();

  EXPECT_EQ(output_[StreamName::kStdout], "33 77\r\nterminal\r\n");
}

TEST_F(AgentConnectionTest, EndsAProcessWhoseClientBreaksTheProtocol) {
  request(shell("sleep 1000"));
  ASSERT_TRUE(expect<Ready>(next()));
  send(Data{.stream = StreamName::kStdin, .bytes = wire::Bytes(kMaxChunk + 1)});

  EXPECT_EQ(wait_for_agent(), 0);
}

}  // namespace
}  // namespace emulated
