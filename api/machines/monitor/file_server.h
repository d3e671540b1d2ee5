// FileServer: a machine's file server (vmm/fileserver) as the daemon sees it: starts it, and tells
// it which files and directories of the host the machine's guest has.
//
// The server is born in its machine's cgroup and ends when the monitor does, so nobody has to end
// it; a restarted daemon finds it by its socket in the machine's run directory. Each call makes a
// connection of its own.
// Threads: the io_context thread; what blocks goes to the pool, whose tasks take at most
// kPatience for each tree.
// Trust: a guest may have taken the server over: what it answers decides nothing but whether a call
// fails.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/privileged/privileged.h"
#include "vmm/launch/file_server.h"

namespace engine {

/// One of the host's files or directories, as the guest has it.
struct SharedTree {
  std::uint32_t number = 0;  // its name among what the server shows; not used before
  HostTree tree;
  launch::file_server::Caching caching = launch::file_server::Caching::kStrict;
};

class FileServer {
 public:
  static constexpr std::chrono::milliseconds kPatience{10'000};

  /// What it works with; all of it outlives it.
  struct Parts {
    Privileged& privileged;
    net::any_io_executor executor;
    async::BlockingPool& pool;
    std::filesystem::path program;  // containervm-fileserver
  };

  /// Of the machine whose run directory and slot these are.
  FileServer(Parts parts, std::filesystem::path directory, MonitorSlot slot)
      : parts_(std::move(parts)), directory_(std::move(directory)), slot_(slot) {}

  /// Starts the server. Returns the socket that the monitor gets (launch::AttachFileServer). Once.
  net::awaitable<base::Result<base::UniqueFd>> start();
  /// Whether a server was started, by this daemon or an earlier one.
  bool is_started() const;

  /// Opens and shows all of them, or none; their numbers ascend. Errors: those of
  /// PrivilegedActs::open_host_tree, of AddTree, kUnavailable and kDeadlineExceeded.
  net::awaitable<base::Result<void>> add(std::vector<SharedTree> trees);
  /// Takes away those with numbers in [begin, end): the guest can begin nothing with them any more,
  /// and who waits for a lock in them gets EINTR.
  net::awaitable<base::Result<void>> remove(std::uint32_t begin, std::uint32_t end);
  /// Whoever waits for a lock gets EINTR.
  net::awaitable<base::Result<void>> interrupt_locks();

 private:
  struct Packet {
    wire::Bytes bytes;
    base::UniqueFd fd;  // sent beside it, if there is one
  };

  /// Sends the packets one after the other, each when the one before was answered.
  net::awaitable<base::Result<void>> exchange(std::vector<Packet> packets) const;
  template <typename M>
  net::awaitable<base::Result<void>> ask(M message) const;
  net::awaitable<base::Result<base::UniqueFd>> spawn(base::UniqueFd control);

  Parts parts_;
  std::filesystem::path directory_;
  MonitorSlot slot_;
};

}  // namespace engine
