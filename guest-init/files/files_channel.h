// FilesChannel: frames (vmm/base/wire.h) on the files tool's standard input and output. Blocks.
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
  /// The caller keeps both descriptors; they outlive the channel.
  FilesChannel(int in, int out) : in_(in), out_(out) {}

  template <typename M>
  base::Result<void> send(const M& message) {
    const wire::Bytes bytes = wire::frame(message);
    return write_all(out_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  /// The next frame. kDataLoss when the input ends before it is whole.
  base::Result<wire::RawFrame> receive();

 private:
  int in_;
  int out_;
  wire::FrameReader reader_;
};

}  // namespace guest_init
