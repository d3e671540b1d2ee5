// With a name server of the test's own on the loopback.
#include "api/engine/names/name_server.h"

#include <arpa/inet.h>
#include <ldns/ldns.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "api/async/testing/loop_fixture.h"
#include "api/engine/names/dns_message.h"
#include "api/engine/names/testing/dns_queries.h"
#include "api/engine/names/upstream.h"
#include "vmm/base/unique_fd.h"

namespace engine::testing {
namespace {

using Bytes = std::vector<std::byte>;

std::vector<NamedPlace> web_place() { return {{"mine", "172.18.0.2", {"web"}, true}}; }

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Binds `socket` to a free port of the loopback.
std::uint16_t bind_somewhere(const base::UniqueFd& socket) {
  sockaddr_in address = loopback();
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(socket.get(), raw, size), 0);
  ::getsockname(socket.get(), raw, &size);
  return ntohs(address.sin_port);
}

/// Takes questions and answers none.
struct SilentServer {
  base::UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  std::uint16_t port = bind_somewhere(socket);
};

class NameServerTest : public async::testing::LoopFixture {
 protected:
  Bytes ask(const std::string& id, const Bytes& message) {
    return run(server_->answer(id, message, false));
  }

  std::shared_ptr<NameRegistry> registry_ = std::make_shared<NameRegistry>();
  int upstream_asked_ = 0;
  std::shared_ptr<NameServer> server_ = std::make_shared<NameServer>(registry_, [this] {
    ++upstream_asked_;
    return std::vector<std::string>();
  });
  NameLease web_ = registry_->add({.id = "1", .places = web_place(), .servers = {}});
  NameLease inner_ = registry_->add(
      {.id = "2", .places = {{"inner", "172.19.0.2", {"db"}, false}}, .servers = {}});
};

TEST_F(NameServerTest, ContainersAreAnsweredHere) {
  EXPECT_EQ(ask("1", query("web")), dns::with_addresses(query("web"), {"172.18.0.2"}));
  EXPECT_EQ(ask("1", query("web", LDNS_RR_TYPE_AAAA)),
            dns::with_addresses(query("web", LDNS_RR_TYPE_AAAA), {}));
  const Bytes pointer = query("2.0.18.172.in-addr.arpa", LDNS_RR_TYPE_PTR);
  EXPECT_EQ(ask("1", pointer), dns::with_name(pointer, "web.mine"));
  EXPECT_EQ(upstream_asked_, 0);
}

TEST_F(NameServerTest, WhoAsksForAddressesOfOneKindGetsThose) {
  std::vector<NamedPlace> places = web_place();
  places[0].names = {"both"};
  places[0].address = "172.18.0.3";
  places[0].address6 = "fd00::3";
  const NameLease both = registry_->add({.id = "3", .places = places, .servers = {}});

  EXPECT_EQ(ask("1", query("both")), dns::with_addresses(query("both"), {"172.18.0.3"}));
  EXPECT_EQ(ask("1", query("both", LDNS_RR_TYPE_AAAA)),
            dns::with_addresses(query("both", LDNS_RR_TYPE_AAAA), {"fd00::3"}));
  EXPECT_EQ(ask("1", query("both", LDNS_RR_TYPE_MX)),
            dns::with_addresses(query("both", LDNS_RR_TYPE_MX), {}));
  const Bytes pointer = query(
      "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", LDNS_RR_TYPE_PTR);
  EXPECT_EQ(ask("1", pointer), dns::with_name(pointer, "both.mine"));
  EXPECT_EQ(upstream_asked_, 0);
}

TEST_F(NameServerTest, OtherNamesAreForTheServersOfTheHostUnlessNothingLeadsOut) {
  EXPECT_EQ(ask("1", query("example.org")), dns::failure(query("example.org")));
  EXPECT_EQ(upstream_asked_, 1);
  EXPECT_EQ(ask("2", query("example.org")), dns::failure(query("example.org")));
  EXPECT_EQ(upstream_asked_, 1);
}

TEST_F(NameServerTest, WhoIsUnknownOrAsksNothingGetsNoAnswer) {
  EXPECT_EQ(ask("nobody", query("web")), Bytes());
  EXPECT_EQ(ask("1", Bytes(20, std::byte{0xff})), Bytes());
}

TEST_F(NameServerTest, AFloodIsDroppedUntilThereIsTimeAgain) {
  int dropped = 0;
  for (int i = 0; i < 1'000'000 && dropped == 0; ++i) dropped += ask("1", query("web")).empty();

  EXPECT_EQ(dropped, 1);
  // Another machine has a share of its own.
  EXPECT_EQ(ask("2", query("db")), dns::with_addresses(query("db"), {"172.19.0.2"}));
}

net::awaitable<void> ask_into(std::shared_ptr<NameServer> server, std::string id, Bytes message,
                              std::optional<Bytes>* answer) {
  answer->emplace(co_await server->answer(std::move(id), std::move(message), false));
}

TEST_F(NameServerTest, MachinesWhoseServersAreSilentLeaveSomeQuestionsToTheOthers) {
  constexpr int kMachines = 8;  // together they have the time for all these questions
  const SilentServer silent;
  const auto server = std::make_shared<NameServer>(
      registry_, [] { return std::vector<std::string>{"127.0.0.1"}; }, silent.port);
  std::vector<NameLease> leases;
  for (int i = 0; i <= kMachines; ++i)
    leases.push_back(
        registry_->add({.id = std::to_string(10 + i), .places = web_place(), .servers = {}}));
  const Bytes message = query("example.org");
  const auto begin = [&](const std::string& id, std::optional<Bytes>* answer) {
    net::co_spawn(*io_, ask_into(server, id, message, answer), net::detached);
    io_->restart();
    while (io_->poll_one() > 0) {
    }
  };

  std::vector<std::optional<Bytes>> answers(NameServer::kMostForwarded + 1);
  for (std::size_t i = 0; i < answers.size(); ++i)
    begin(std::to_string(10 + i % kMachines), &answers[i]);
  EXPECT_EQ(answers.back(), dns::failure(message));
  EXPECT_FALSE(answers.front());

  // The first question of another machine is forwarded all the same, its second one is not.
  std::optional<Bytes> first;
  std::optional<Bytes> second;
  begin(std::to_string(10 + kMachines), &first);
  begin(std::to_string(10 + kMachines), &second);
  EXPECT_FALSE(first);
  EXPECT_EQ(second, dns::failure(message));
}

/// Answers one question, with the same bytes and one more.
class EchoServer {
 public:
  explicit EchoServer(int type, bool lies_first = false) {
    socket_.reset(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    port = bind_somewhere(socket_);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(socket_.get(), 1), 0);
      thread_ = std::jthread([this] { serve_stream(); });
    } else {
      thread_ = std::jthread([this, lies_first] { serve_datagram(lies_first); });
    }
  }

  std::uint16_t port = 0;

 private:
  void serve_datagram(bool lies_first) const {
    char buffer[512];
    sockaddr_in from{};
    socklen_t size = sizeof from;
    auto* const peer = reinterpret_cast<sockaddr*>(&from);
    const ssize_t length = ::recvfrom(socket_.get(), buffer, sizeof buffer - 1, 0, peer, &size);
    if (length <= 0) return;
    if (lies_first) {
      char wrong[512];
      std::memcpy(wrong, buffer, sizeof wrong);
      wrong[0] = static_cast<char>(wrong[0] + 1);
      ::sendto(socket_.get(), wrong, static_cast<std::size_t>(length), 0, peer, size);
    }
    buffer[length] = '!';
    ::sendto(socket_.get(), buffer, static_cast<std::size_t>(length) + 1, 0, peer, size);
  }

  void serve_stream() const {
    const base::UniqueFd connection(::accept(socket_.get(), nullptr, nullptr));
    char buffer[512];
    const ssize_t length = ::recv(connection.get(), buffer, sizeof buffer - 1, 0);
    if (length <= 0) return;
    ++buffer[1];
    buffer[length] = '!';
    ::send(connection.get(), buffer, static_cast<std::size_t>(length) + 1, MSG_NOSIGNAL);
  }

  base::UniqueFd socket_;
  std::jthread thread_;
};

class UpstreamTest : public async::testing::LoopFixture {
 protected:
  static constexpr std::chrono::milliseconds kPatience{300};

  static Bytes with_mark(Bytes message) {
    message.push_back(std::byte{'!'});
    return message;
  }
};

TEST_F(UpstreamTest, AnAnswerHasTheNumberOfTheQuestion) {
  const EchoServer datagrams(SOCK_DGRAM);
  const EchoServer streams(SOCK_STREAM);
  const Bytes message = query("example.org");

  EXPECT_EQ(run(dns::ask_servers({"127.0.0.1"}, message, false, kPatience, datagrams.port)),
            with_mark(message));
  EXPECT_EQ(run(dns::ask_servers({"127.0.0.1"}, message, true, kPatience, streams.port)),
            with_mark(message));
}

TEST_F(UpstreamTest, AnAnswerToAnotherQuestionIsNone) {
  const EchoServer liar(SOCK_DGRAM, true);
  const Bytes message = query("example.org");

  EXPECT_EQ(run(dns::ask_servers({"127.0.0.1"}, message, false, kPatience, liar.port)),
            with_mark(message));
}

TEST_F(UpstreamTest, TheNextServerIsAskedWhereOneIsSilent) {
  const EchoServer server(SOCK_DGRAM);
  const Bytes message = query("example.org");

  EXPECT_EQ(run(dns::ask_servers({"nowhere", "127.0.0.2", "127.0.0.1"}, message, false, kPatience,
                                 server.port)),
            with_mark(message));
  EXPECT_EQ(run(dns::ask_servers({"127.0.0.3"}, message, false, kPatience, server.port)), Bytes());
  EXPECT_EQ(run(dns::ask_servers({}, message, false)), Bytes());
}

}  // namespace
}  // namespace engine::testing
