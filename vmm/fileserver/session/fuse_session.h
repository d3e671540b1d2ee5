// FuseSession: FUSE's protocol. It checks requests, has libfuse read them, does with FileSystem
// what they ask, and has libfuse write the answers.
//
// Threads: any that prepare_thread() has prepared; many at a time. An answer may come later and on
// another thread (a lock that is waited for).
// Ownership: the file system outlives the session, and ends its waits before.
// Trust: requests are the guest's, all of them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "vmm/fileserver/files/file_system.h"

namespace fileserver {

class FuseSession {
 public:
  /// Gets each answer as a whole, in parts. Returns whether it went out.
  using Send = std::function<bool(std::span<iovec>)>;

  FuseSession(FileSystem& files, Send send);
  ~FuseSession();

  /// Serves one request, which begins with its fuse_in_header and has that one's length; it is at
  /// most as long as a request may be, and aligned as malloc does.
  void process(std::span<std::byte> request);

 private:
  struct Live;

  void begin(std::span<std::byte> request);
  void end(std::span<const std::byte> request);
  void answer(std::span<const std::byte> request, int error);
  std::shared_ptr<Live> live() const;

  FileSystem& files_;
  const Send send_;
  mutable std::mutex mutex_;
  std::shared_ptr<Live> live_;  // from INIT to DESTROY
};

}  // namespace fileserver
