// FileTree: the files of a build context, or of an archive, as an index over the plain tar that
// they lie in. Nothing is unpacked: no name in the archive ever meets the host's file system.
//
// Trust: names, links and numbers are the client's. Symbolic links are followed inside of the tree
// only; the index is bounded in entries and in bytes.
// Threads: any, one at a time while it is made; afterwards it is only read.
// The sums are those of Docker's TarSum, version 1, which its build cache is keyed by.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/protocol/files.h"
#include "images/store/streams/tar_reader.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine::build {

struct TreeNode {
  protocol::files::Entry entry;  // its path is that of the node; links are kept as written
  std::uint64_t offset = 0;      // where a file's stored bytes begin
  std::optional<std::vector<images::SparseRegion>> sparse;
  std::string sum;      // hexadecimal; empty: a directory that only its contents name
  std::string same_as;  // a hard link: the file's first name
};

class FileTree {
 public:
  /// Sorts paths directory by directory, as Go's filepath.Walk goes.
  struct InOrder {
    bool operator()(std::string_view a, std::string_view b) const;
    using is_transparent = void;
  };

  explicit FileTree(std::shared_ptr<const base::UniqueFd> file) : file_(std::move(file)) {}

  /// Reads the first `bytes` of `file`, a plain tar. kUnavailable when it is told to stop.
  static base::Result<FileTree> read(std::shared_ptr<const base::UniqueFd> file,
                                     std::uint64_t bytes, const std::stop_token& stop = {});

  /// Adds a file that a guest has sent, whose bytes lie at `node.offset` and whose sum is
  /// `node.sum`. A link in the tree that its directory's path goes through is followed.
  base::Result<void> add(TreeNode node);
  void remove(std::string_view path);

  /// The node at a clean path ("a/b"); null if there is none.
  const TreeNode* find(std::string_view path) const;
  /// Where a path leads when symbolic links are followed, whether something is there or not.
  /// nullopt: the links go round in circles.
  std::optional<std::string> resolve(std::string_view path) const;
  /// The paths below a directory ("" for all), in order.
  std::vector<std::string> below(std::string_view directory) const;

  /// Bytes [from, from + out.size()) of a file's contents.
  base::Result<void> contents(const TreeNode& node, std::uint64_t from,
                              std::span<std::byte> out) const;
  int file() const { return file_->get(); }

 private:
  base::Result<void> insert(TreeNode node);
  base::Result<void> make_parents(const std::string& path);

  std::shared_ptr<const base::UniqueFd> file_;
  std::map<std::string, TreeNode, InOrder> nodes_;
  std::uint64_t metadata_bytes_ = 0;
};

/// The fields of a header that a sum begins with.
std::string summed_header(const protocol::files::Entry& entry, const images::TarEntry::Raw& raw,
                          std::string_view name);
/// The header by which dockerd would see, on its host, a file that comes from an image: permissions
/// without a type, owners without names.
images::TarEntry::Raw raw_of(const protocol::files::Entry& entry);

}  // namespace engine::build
