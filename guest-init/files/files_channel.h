// Frames on the files tool's standard input and output. Blocking.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <optional>

#include "guest-init/protocol/files.h"
#include "guest-init/system/text_files.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"

namespace guest_init {

class FilesChannel {
 public:
  /// Both are someone else's.
  FilesChannel(int in, int out) : in_(in), out_(out) {}

  template <typename M>
  base::Result<void> send(const M& message) {
    const wire::Bytes bytes = wire::frame(message);
    return write_all(out_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  /// kDataLoss when the input ends in the middle.
  base::Result<wire::RawFrame> receive();

 private:
  int in_;
  int out_;
  wire::FrameReader reader_;
};

}  // namespace guest_init
