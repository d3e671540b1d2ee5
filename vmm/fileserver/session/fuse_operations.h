// The operations that libfuse's low-level interface calls, each carried on to FileSystem.
//
// Threads: any that prepare_thread() has prepared.
// Trust: libfuse has been given whole requests only (request_check.h); what they say is the
// guest's.
#pragma once

#include <memory>

#include "vmm/fileserver/files/file_system.h"

struct fuse_lowlevel_ops;

namespace fileserver {

/// What a session of libfuse is given as its user data.
struct OperationContext {
  explicit OperationContext(FileSystem& file_system) : files(file_system) {}
  virtual ~OperationContext() = default;
  OperationContext(const OperationContext&) = delete;
  OperationContext& operator=(const OperationContext&) = delete;

  /// Keeps libfuse's session, for a request that is answered later.
  virtual std::shared_ptr<void> keep() = 0;

  FileSystem& files;
};

/// The table of them. FORGET's are answered by nothing, all others exactly once.
fuse_lowlevel_ops fuse_operations();

}  // namespace fileserver
