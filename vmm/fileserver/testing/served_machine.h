// For tests: a file server at work, with a directory to share and a secret beside it; either in
// this process, where sanitizers see it, or the program in its sandbox.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "vmm/base/event_loop.h"
#include "vmm/base/spawn.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"
#include "vmm/fileserver/files/file_system.h"
#include "vmm/fileserver/session/server.h"
#include "vmm/fileserver/testing/fuse_client.h"
#include "vmm/fileserver/tree_control.h"

namespace fileserver {

/// The daemon's end of a control connection.
class TestControl {
 public:
  explicit TestControl(const std::string& path);

  /// Sends `message` and waits for its answer: 0, or base::Code + 1 of a failure; -1 if the
  /// connection has ended.
  template <typename M>
  int call(const M& message, int fd = -1) {
    return call_packet(base::packet_of(message), fd);
  }
  /// The next message, of which the type is left; empty if the connection has ended.
  wire::Bytes receive();

 private:
  int call_packet(const wire::Bytes& packet, int fd);

  base::UniqueFd socket_;
};

/// One server. Its session is a socket pair; whoever has the other end is the guest.
class TestServer {
 public:
  enum class Kind { kInProcess, kProgram };
  struct Settings {
    Kind kind = Kind::kInProcess;
    std::string directory;         // for the control socket
    std::size_t most_open = 4096;  // a program's hard limit is higher, by what is reserved
  };

  explicit TestServer(const Settings& settings);
  ~TestServer();

  FuseClient& guest() { return *guest_; }
  TestControl& control() { return *control_; }
  const std::string& control_path() const { return control_path_; }
  pid_t pid() const { return program_.pid; }
  /// Ends the session; how the program ended (wait status), or 0.
  int finish();

 private:
  void start_here(base::UniqueFd session, base::UniqueFd listener, std::size_t most_open);
  void start_program(base::UniqueFd session, base::UniqueFd listener, std::size_t most_open);

  std::string control_path_;
  std::unique_ptr<FuseClient> guest_;
  std::unique_ptr<TestControl> control_;
  // in this process
  std::unique_ptr<FileSystem> files_;
  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<TreeControl> tree_control_;
  std::unique_ptr<Server> server_;
  std::thread control_thread_;
  // the program
  base::Spawned program_;
};

/// A directory with `share`, which is tree 1, and `secret` beside it.
class ServedTest : public testing::TestWithParam<TestServer::Kind> {
 protected:
  static constexpr const char* kSecret = "nobody is to read this";

  void SetUp() override;
  void TearDown() override;

  /// A server of its own for another guest of the same tree.
  std::unique_ptr<TestServer> start(std::size_t most_open = 4096);
  /// Adds a directory or file of the host to a server. The answer is TestControl's.
  int add_tree(TestServer& server, std::uint32_t number, const std::string& path,
               bool read_only = false,
               launch::file_server::Caching caching = launch::file_server::Caching::kStrict);

  std::string share() const { return directory_ + "/share"; }
  std::string shared(const std::string& name) const { return share() + "/" + name; }
  void put(const std::string& name, const std::string& text) const;
  std::string text_of(const std::string& path) const;
  FuseClient& guest() { return server_->guest(); }
  TestControl& control() { return server_->control(); }
  /// The node of a tree's root.
  std::uint64_t root(TestServer& server, std::uint32_t number = 1);

  std::string directory_;
  std::unique_ptr<TestServer> server_;
  std::uint64_t top_ = 0;  // the node of tree 1
};

std::string name_of_kind(const testing::TestParamInfo<TestServer::Kind>& info);

/// The kinds that can run here: sanitizers make system calls that the program's filter kills.
std::vector<TestServer::Kind> kinds();

}  // namespace fileserver
