// LayerTree: the files of one layer, as its tar entries build them up in memory.
//
// The tree is what unpacking the entries one by one into an empty directory would give: later
// entries replace earlier ones, missing parents appear, symbolic links in parents are followed, but
// only inside the tree, so no entry is written outside. A whiteout (".wh.x") becomes a character
// device 0:0, as overlayfs wants it; opaque directories get the attribute trusted.overlay.opaque.
// Spec: OCI image spec, layer.md.
// Trust: entries are hostile. Memory is bounded by LayerLimits::entries and metadata_bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/layers/layer_limits.h"
#include "images/store/streams/tar_reader.h"

namespace images {

using NodeIndex = std::uint32_t;

struct Node {
  std::uint32_t mode = 0;  // S_IFMT and permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::uint32_t first_block = 0;  // of a regular file's bytes in the EROFS
  std::uint64_t size = 0;         // of a regular file
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  bool whiteout = false;
  std::string target;  // of a symbolic link
  std::map<std::string, std::string> xattrs;
  std::map<std::string, NodeIndex> children;  // of a directory, in byte order

  bool is_directory() const { return (mode & 0170000u) == 0040000u; }
  bool is_symlink() const { return (mode & 0170000u) == 0120000u; }
  bool is_regular() const { return (mode & 0170000u) == 0100000u; }
};

class LayerTree {
 public:
  static constexpr NodeIndex kRoot = 0;

  explicit LayerTree(const LayerLimits& limits);

  /// Applies one entry; a regular file's bytes start at `first_block`.
  /// kInvalidArgument for an entry that cannot be unpacked.
  base::Result<void> apply(const TarEntry& entry, std::uint32_t first_block);

  const Node& node(NodeIndex index) const { return nodes_[index]; }
  const Node& root() const { return nodes_[kRoot]; }

 private:
  /// A directory, and the name of something in it.
  struct Place {
    NodeIndex directory = kRoot;
    std::string name;  // empty: the root itself
  };

  base::Result<void> account(std::uint64_t bytes);
  base::Result<Place> find_place(std::string_view path, const TarEntry& entry);
  base::Result<NodeIndex> open_directory(std::vector<std::string> components,
                                         const TarEntry& entry);
  base::Result<NodeIndex> enter(NodeIndex directory, const std::string& name,
                                const TarEntry& entry);
  base::Result<void> apply_mark(const Place& place);
  base::Result<void> apply_hard_link(const Place& place, const TarEntry& entry);
  base::Result<void> apply_directory(const Place& place, const TarEntry& entry);
  base::Result<NodeIndex> put(const Place& place, Node node);
  Node* find(const Place& place);

  const LayerLimits limits_;
  std::vector<Node> nodes_;  // may hold nodes that were replaced: what counts is reachable
  std::uint64_t entries_ = 0;
  std::uint64_t metadata_bytes_ = 0;
};

}  // namespace images
