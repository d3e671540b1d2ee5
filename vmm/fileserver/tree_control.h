// TreeControl: serves the daemon's requests for trees (vmm/launch/file_server.h).
//
// Threads: the event loop's. Ownership: the loop and the file system outlive it.
// Trust: the daemon is trusted, but a malformed packet drops the connection and is never obeyed in
// part.
#pragma once

#include <memory>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/seqpacket.h"
#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/file_system.h"
#include "vmm/launch/file_server.h"

namespace fileserver {

class TreeControl {
 public:
  struct Settings {
    base::EventLoop& loop;
    FileSystem& files;
    base::UniqueFd listener;  // SOCK_SEQPACKET, listening
  };

  static base::Result<std::unique_ptr<TreeControl>> create(Settings settings);

 private:
  using Descriptors = std::vector<base::UniqueFd>;

  explicit TreeControl(Settings settings) : settings_(std::move(settings)) {}

  void on_connect();
  void on_packet();
  bool receive_one();
  base::Result<void> dispatch(const wire::RawFrame& frame, Descriptors fds);
  template <typename M>
  base::Result<void> answer(const wire::RawFrame& frame, Descriptors fds);

  base::Result<void> handle(const launch::file_server::AddTree& message, Descriptors& fds);
  base::Result<void> handle(const launch::file_server::RemoveTrees& message, Descriptors& fds);
  base::Result<void> handle(const launch::file_server::InterruptLocks& message, Descriptors& fds);

  template <typename M>
  void send(const M& message);
  void drop_connection();

  Settings settings_;
  base::EventLoop::Watch listening_;
  base::UniqueFd connection_;
  base::EventLoop::Watch watch_;
};

}  // namespace fileserver
