// ChangeDecoder: checks the frames of the files tool's "changes", and tells what a container has
// changed in its image's files.
//
// Trust: the frames are the guest's. What breaks the protocol ends the list (kDataLoss): a path
// that is none, an unknown kind, anything after the end. A container may have any number of
// changes; none of them is kept here.
#pragma once

#include <optional>
#include <string>

#include "guest-init/protocol/files.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace engine {

struct FileChange {
  std::string path;  // absolute
  protocol::files::ChangeKind kind{};
};

class ChangeDecoder {
 public:
  /// Reads a frame. nullopt: there are no more changes. A Failed frame gives its error.
  base::Result<std::optional<FileChange>> take(const wire::RawFrame& frame);

 private:
  bool ended_ = false;
};

}  // namespace engine
