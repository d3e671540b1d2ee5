// TreeReader: makes a tree of the files that a guest sends: an index over a spool file, with the
// sums that the build cache is keyed by.
//
// Trust: the frames are the guest's; what breaks the protocol is kDataLoss, too much of it
// kResourceExhausted. Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "api/engine/build/sources/file_tree.h"
#include "images/store/streams/digest.h"
#include "vmm/base/wire.h"

namespace engine::build {

class TreeReader {
 public:
  /// `prefix` is where the tree's entries lie in the image.
  TreeReader(std::shared_ptr<base::UniqueFd> file, std::string prefix)
      : file_(file), prefix_(std::move(prefix)), tree_(file) {}

  /// Takes an Entry or Data frame.
  base::Result<void> take(const wire::RawFrame& frame);
  /// Takes the end of the frames. kDataLoss if it comes in the middle of a file.
  base::Result<void> finish();

  FileTree tree() && { return std::move(tree_); }

 private:
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 30;

  base::Result<void> take_entry(const protocol::files::Entry& entry);

  const std::shared_ptr<base::UniqueFd> file_;
  const std::string prefix_;
  FileTree tree_;
  std::optional<TreeNode> node_;  // whose contents are coming
  images::Sha256 hash_;
  std::uint64_t missing_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace engine::build
