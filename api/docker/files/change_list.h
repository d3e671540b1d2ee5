// ChangeList: the frames of the files tool's "changes" as Docker's JSON, in pieces.
//
// Trust: the frames are the guest's. What breaks the protocol ends the list (kDataLoss): a path
// that is none, an unknown kind, anything after the end. Memory: what was not taken, not the list,
// so a container may have any number of changes.
#pragma once

#include <string>

#include "guest-init/protocol/files.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace docker {

class ChangeList {
 public:
  /// A Change or End frame; of a Failed frame, its error.
  base::Result<void> add(const wire::RawFrame& frame);
  /// After End was added.
  bool complete() const { return complete_; }
  std::size_t size() const { return text_.size(); }
  /// What the text has grown by: "null" for an empty list, as Docker has it.
  std::string take() { return std::exchange(text_, {}); }

 private:
  base::Result<void> add_change(const protocol::files::Change& change);

  std::string text_;
  bool any_ = false;
  bool complete_ = false;
};

}  // namespace docker
