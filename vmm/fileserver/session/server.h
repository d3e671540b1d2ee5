// Server: the threads that serve a session.
//
// A few threads read requests, one at a time, and serve what they have read (turn.h); a request
// that takes long keeps one of them. One more tries again for locks that are waited for, and one
// watches how long requests take.
//
// Threads: start() and the destructor are called on one thread; on_end is called on a thread of the
// server. Ownership: the file system outlives the server.
// Trust: before the first byte of a request is read, all threads are restricted.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/file_system.h"
#include "vmm/fileserver/session/channel.h"
#include "vmm/fileserver/session/fuse_session.h"
#include "vmm/fileserver/session/turn.h"

namespace fileserver {

class Server {
 public:
  struct Settings {
    base::UniqueFd session;  // SOCK_STREAM, blocking
    FileSystem& files;
    /// Called on each thread, and on the one that calls start(), before requests are read.
    std::function<base::Result<void>()> restrict = [] { return base::Result<void>(); };
    /// Called once, when there are no more requests: the stream has ended, or with its error. The
    /// threads end after it, unless it ends the process.
    std::function<void(base::Result<void>)> on_end = [](const base::Result<void>&) {};
  };

  static base::Result<std::unique_ptr<Server>> start(Settings settings);
  /// Ends the session and waits for the threads.
  ~Server();

 private:
  explicit Server(Settings settings);

  void begin(const char* name, void (Server::*work)());
  /// On a new thread: prepares it and waits for the others. Whether it may work.
  bool get_ready();
  base::Result<void> let_work();
  void serve();
  void try_locks();
  void watch();
  void end(base::Result<void> result);

  Settings settings_;
  Channel channel_;
  FuseSession session_;
  Turn turn_;
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned ready_ = 0;
  base::Result<void> prepared_;
  bool may_work_ = false;
  bool decided_ = false;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fileserver
