#include "vmm/fileserver/testing/served_machine.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "vmm/base/seqpacket.h"
#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

base::UniqueFd listen_at(const std::string& path) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(socket.get(), 8), 0);
  return socket;
}

}  // namespace

TestControl::TestControl(const std::string& path)
    : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  const sockaddr_un address = address_of(path);
  EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  const auto status = wire::decode<protocol::Status>(receive());
  EXPECT_TRUE(status && status->version == protocol::kVersion);
}

wire::Bytes TestControl::receive() {
  auto packet = base::receive_packet(socket_.get(), protocol::kMaxPacket, 0);
  if (!packet || packet->bytes.empty()) return {};
  return base::open_packet(packet->bytes)->payload;
}

int TestControl::call_packet(const wire::Bytes& packet, int fd) {
  const std::span<const int> fds(&fd, fd < 0 ? 0 : 1);
  if (!base::send_packet(socket_.get(), packet, fds)) return -1;
  const wire::Bytes answer = receive();
  if (answer.empty()) return -1;
  const auto failed = wire::decode<protocol::Failed>(answer);
  return failed ? failed->code + 1 : 0;
}

TestServer::TestServer(const Settings& settings) {
  static int number = 0;
  control_path_ = settings.directory + "/control" + std::to_string(++number);
  auto pair = base::make_socket_pair(SOCK_STREAM);
  base::UniqueFd listener = listen_at(control_path_);
  guest_ = std::make_unique<FuseClient>(std::move(pair->first));
  if (settings.kind == Kind::kProgram)
    start_program(std::move(pair->second), std::move(listener), settings.most_open);
  else
    start_here(std::move(pair->second), std::move(listener), settings.most_open);
  control_ = std::make_unique<TestControl>(control_path_);
}

void TestServer::start_here(base::UniqueFd session, base::UniqueFd listener,
                            std::size_t most_open) {
  base::UniqueFd descriptors(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  files_ = std::make_unique<FileSystem>(FileSystem::Settings{std::move(descriptors), most_open});
  loop_ = *base::EventLoop::create();
  tree_control_ = *TreeControl::create({*loop_, *files_, std::move(listener)});
  auto server = Server::start({.session = std::move(session), .files = *files_});
  ASSERT_TRUE(server) << server.error().message;
  server_ = *std::move(server);
  control_thread_ = std::thread([this] { EXPECT_TRUE(loop_->run()); });
}

void TestServer::start_program(base::UniqueFd session, base::UniqueFd listener,
                               std::size_t most_open) {
  base::SpawnPlan plan;
  plan.argv = {"/bin/sh", "-c", "ulimit -n \"$0\" && exec \"$1\"",
               std::to_string(most_open + kReservedDescriptors), FILESERVER_PROGRAM};
  plan.descriptors = {-1, -1, STDERR_FILENO, session.get(), listener.get()};
  plan.own_pid_namespace = ::geteuid() == 0;
  auto spawned = base::spawn(plan);
  ASSERT_TRUE(spawned) << spawned.error().message;
  program_ = *std::move(spawned);
}

int TestServer::finish() {
  guest_->hang_up();
  if (program_.pid <= 0) return 0;
  int status = 0;
  ::waitpid(program_.pid, &status, 0);
  program_.pid = -1;
  return status;
}

TestServer::~TestServer() {
  guest_->hang_up();
  if (program_.pid > 0) {
    ::kill(program_.pid, SIGKILL);
    ::waitpid(program_.pid, nullptr, 0);
  }
  if (loop_) loop_->stop();
  if (control_thread_.joinable()) control_thread_.join();
}

void ServedTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: files are made as somebody else";
  std::string name = testing::TempDir() + "fileserver.XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  directory_ = name;
  std::filesystem::create_directory(share());
  std::ofstream(directory_ + "/secret") << kSecret;
  server_ = start();
  ASSERT_EQ(add_tree(*server_, 1, share()), 0);
  top_ = root(*server_);
  ASSERT_NE(top_, 0u);
}

void ServedTest::TearDown() {
  if (directory_.empty()) return;
  EXPECT_EQ(server_->finish(), 0);
  server_.reset();
  EXPECT_EQ(text_of(directory_ + "/secret"), kSecret);
  std::filesystem::remove_all(directory_);
}

std::unique_ptr<TestServer> ServedTest::start(std::size_t most_open) {
  auto server = std::make_unique<TestServer>(
      TestServer::Settings{.kind = GetParam(), .directory = directory_, .most_open = most_open});
  EXPECT_EQ(server->guest().init().error, 0);
  return server;
}

int ServedTest::add_tree(TestServer& server, std::uint32_t number, const std::string& path,
                         bool read_only, protocol::Caching caching) {
  const base::UniqueFd fd(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  return server.control().call(protocol::AddTree{7, number, read_only, caching}, fd.get());
}

std::uint64_t ServedTest::root(TestServer& server, std::uint32_t number) {
  return server.guest().walk(FUSE_ROOT_ID, std::to_string(number));
}

void ServedTest::put(const std::string& name, const std::string& text) const {
  std::ofstream(shared(name)) << text;
}

std::string ServedTest::text_of(const std::string& path) const {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string name_of_kind(const testing::TestParamInfo<TestServer::Kind>& info) {
  return info.param == TestServer::Kind::kProgram ? "Program" : "InProcess";
}

std::vector<TestServer::Kind> kinds() {
#ifdef FILESERVER_SANITIZED
  return {TestServer::Kind::kInProcess};
#else
  return {TestServer::Kind::kInProcess, TestServer::Kind::kProgram};
#endif
}

}  // namespace fileserver
