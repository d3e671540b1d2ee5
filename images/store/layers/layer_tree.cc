#include "images/store/layers/layer_tree.h"

#include <sys/stat.h>

#include <algorithm>

namespace images {

namespace {

constexpr std::string_view kMark = ".wh.";
constexpr std::string_view kMetaMark = ".wh..wh.";
constexpr std::string_view kOpaqueMark = ".wh..wh..opq";
constexpr std::string_view kOverlayXattrs = "trusted.overlay.";
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxPathBytes = 4095;          // of names and of symbolic links
constexpr std::size_t kMaxXattrBytes = 65535;        // what EROFS can hold, of one value
constexpr std::size_t kMaxXattrsBytes = 128u << 10;  // of one file, names and values
constexpr int kMaxLinksFollowed = 40;
constexpr std::uint64_t kNodeCost = 384;  // bytes of memory beside its names, roughly

base::Error refuse(std::string_view name, std::string_view why) {
  return {base::Code::kInvalidArgument,
          "invalid tar entry \"" + std::string(name) + "\": " + std::string(why)};
}

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> components;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    if (!component.empty() && component != ".") components.emplace_back(component);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return components;
}

/// The components of an entry's name with ".." taken out by text alone, as Docker cleans names.
base::Result<std::vector<std::string>> clean(std::string_view path) {
  const bool absolute = path.starts_with('/');
  std::vector<std::string> cleaned;
  for (std::string& component : split(path)) {
    if (component.size() > kMaxNameBytes) return refuse(path, "file name too long");
    if (component != "..") {
      cleaned.push_back(std::move(component));
    } else if (!cleaned.empty()) {
      cleaned.pop_back();
    } else if (!absolute) {
      return refuse(path, "it is outside of the layer");
    }
  }
  return cleaned;
}

std::uint32_t format_of(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kSymlink:
      return S_IFLNK;
    case TarEntry::Type::kCharDevice:
      return S_IFCHR;
    case TarEntry::Type::kBlockDevice:
      return S_IFBLK;
    case TarEntry::Type::kDirectory:
      return S_IFDIR;
    case TarEntry::Type::kFifo:
      return S_IFIFO;
    default:
      return S_IFREG;
  }
}

/// Only attributes that a Linux filesystem would take from the unpacking; others are dropped, as
/// Docker does. Overlayfs's own are ours to give.
std::map<std::string, std::string> storable_xattrs(const TarEntry& entry) {
  std::map<std::string, std::string> kept;
  for (const auto& [name, value] : entry.xattrs) {
    const bool known = name.starts_with("user.") || name.starts_with("security.") ||
                       name.starts_with("trusted.") || name == "system.posix_acl_access" ||
                       name == "system.posix_acl_default";
    if (known && !name.starts_with(kOverlayXattrs)) kept.emplace(name, value);
  }
  return kept;
}

base::Result<Node> node_from(const TarEntry& entry) {
  Node node;
  node.mode = format_of(entry.type) | (entry.type == TarEntry::Type::kSymlink ? 0777u : entry.mode);
  node.uid = entry.uid;
  node.gid = entry.gid;
  node.mtime_seconds = entry.mtime_seconds;
  node.mtime_nanoseconds = entry.mtime_nanoseconds;
  node.xattrs = storable_xattrs(entry);
  std::size_t xattr_bytes = 0;
  for (const auto& [name, value] : node.xattrs) {
    if (name.size() > kMaxNameBytes || value.size() > kMaxXattrBytes)
      return refuse(entry.name, "extended attribute too long");
    xattr_bytes += name.size() + value.size();
  }
  if (xattr_bytes > kMaxXattrsBytes) return refuse(entry.name, "extended attributes too long");
  if (entry.type == TarEntry::Type::kRegular) node.size = entry.size;
  if (entry.type == TarEntry::Type::kSymlink) {
    if (entry.link_name.empty() || entry.link_name.size() > kMaxPathBytes)
      return refuse(entry.name, "bad length of a symbolic link");
    node.target = entry.link_name;
  }
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
    if (entry.device_major >= 1u << 12 || entry.device_minor >= 1u << 20)
      return refuse(entry.name, "device number out of range");
    node.device_major = entry.device_major;
    node.device_minor = entry.device_minor;
  }
  return node;
}

Node whiteout_node() {
  Node node;
  node.mode = S_IFCHR;
  node.whiteout = true;
  return node;
}

void make_opaque(Node& directory) { directory.xattrs["trusted.overlay.opaque"] = "y"; }

}  // namespace

LayerTree::LayerTree(const LayerLimits& limits) : limits_(limits) {
  Node root;
  root.mode = S_IFDIR | 0755u;
  nodes_.push_back(std::move(root));
}

base::Result<void> LayerTree::account(std::uint64_t bytes) {
  metadata_bytes_ += bytes;
  if (metadata_bytes_ > limits_.metadata_bytes)
    return base::Error{base::Code::kResourceExhausted,
                       "the layer's names and attributes exceed the limit"};
  return {};
}

Node* LayerTree::find(const Place& place) {
  if (place.name.empty()) return &nodes_[kRoot];
  const auto& children = nodes_[place.directory].children;
  const auto found = children.find(place.name);
  return found == children.end() ? nullptr : &nodes_[found->second];
}

base::Result<NodeIndex> LayerTree::put(const Place& place, Node node) {
  std::uint64_t cost = kNodeCost + place.name.size() + node.target.size();
  for (const auto& [name, value] : node.xattrs) cost += 64 + name.size() + value.size();
  RETURN_IF_ERROR(account(cost));
  if (const Node* old = find(place); old && old->whiteout && node.is_directory()) make_opaque(node);
  const auto index = static_cast<NodeIndex>(nodes_.size());
  nodes_.push_back(std::move(node));
  nodes_[place.directory].children[place.name] = index;
  return index;
}

// The directory that `name` means in `directory`; created if nothing is there.
base::Result<NodeIndex> LayerTree::enter(NodeIndex directory, const std::string& name,
                                         const TarEntry& entry) {
  const Place place{directory, name};
  const Node* node = find(place);
  if (node && node->is_directory()) return nodes_[directory].children.find(name)->second;
  if (node && !node->whiteout) return refuse(entry.name, "a parent is not a directory");
  Node implied;
  implied.mode = S_IFDIR | 0755u;
  implied.mtime_seconds = entry.mtime_seconds;
  implied.mtime_nanoseconds = entry.mtime_nanoseconds;
  return put(place, std::move(implied));
}

// Walks `components` from the root, following symbolic links inside the tree.
base::Result<NodeIndex> LayerTree::open_directory(std::vector<std::string> components,
                                                  const TarEntry& entry) {
  std::reverse(components.begin(), components.end());
  std::vector<NodeIndex> walked{kRoot};
  int links = 0;
  while (!components.empty()) {
    const std::string name = std::move(components.back());
    components.pop_back();
    if (name == "..") {
      if (walked.size() > 1) walked.pop_back();
      continue;
    }
    if (name.size() > kMaxNameBytes) return refuse(entry.name, "file name too long");
    const Node* node = find({walked.back(), name});
    if (!node || !node->is_symlink()) {
      auto next = enter(walked.back(), name, entry);
      if (!next) return next;
      walked.push_back(*next);
      continue;
    }
    if (++links > kMaxLinksFollowed) return refuse(entry.name, "too many symbolic links");
    if (node->target.starts_with('/')) walked.resize(1);
    std::vector<std::string> target = split(node->target);
    components.insert(components.end(), std::make_move_iterator(target.rbegin()),
                      std::make_move_iterator(target.rend()));
  }
  return walked.back();
}

base::Result<LayerTree::Place> LayerTree::find_place(std::string_view path, const TarEntry& entry) {
  if (path.size() > kMaxPathBytes) return refuse(path.substr(0, 64), "file name too long");
  auto components = clean(path);
  if (!components) return std::move(components).error();
  if (components->empty()) return Place{};
  Place place;
  place.name = std::move(components->back());
  components->pop_back();
  auto directory = open_directory(*std::move(components), entry);
  if (!directory) return std::move(directory).error();
  place.directory = *directory;
  return place;
}

// What is in the same layer as its own whiteout stays, and hides what lower layers have there.
base::Result<void> LayerTree::apply_mark(const Place& place) {
  if (place.name == kOpaqueMark) {
    make_opaque(nodes_[place.directory]);
    return account(kNodeCost);
  }
  if (place.name.starts_with(kMetaMark)) return {};  // bookkeeping of aufs
  const Place hidden{place.directory, place.name.substr(kMark.size())};
  if (hidden.name.empty() || hidden.name == "." || hidden.name == "..")
    return refuse(place.name, "a whiteout of nothing");
  if (Node* node = find(hidden)) {
    if (node->is_directory()) make_opaque(*node);
    return {};
  }
  auto put_node = put(hidden, whiteout_node());
  return put_node ? base::Result<void>() : std::move(put_node).error();
}

base::Result<void> LayerTree::apply_hard_link(const Place& place, const TarEntry& entry) {
  auto target = find_place(entry.link_name, entry);
  if (!target) return std::move(target).error();
  const Node* node = find(*target);
  if (!node || node->whiteout)
    return refuse(entry.name, "its hard link target is not in the layer");
  if (node->is_directory()) return refuse(entry.name, "a hard link to a directory");
  RETURN_IF_ERROR(account(kNodeCost + place.name.size()));
  const NodeIndex index = nodes_[target->directory].children.find(target->name)->second;
  nodes_[place.directory].children[place.name] = index;
  return {};
}

base::Result<void> LayerTree::apply_directory(const Place& place, const TarEntry& entry) {
  auto made = node_from(entry);
  if (!made) return std::move(made).error();
  Node* old = find(place);
  if (old && old->is_directory()) {
    if (old->xattrs.contains("trusted.overlay.opaque")) make_opaque(*made);
    made->children = std::move(old->children);
    *old = *std::move(made);
    return account(kNodeCost);
  }
  auto put_node = put(place, *std::move(made));
  return put_node ? base::Result<void>() : std::move(put_node).error();
}

base::Result<void> LayerTree::apply(const TarEntry& entry, std::uint32_t first_block) {
  if (++entries_ > limits_.entries)
    return base::Error{base::Code::kResourceExhausted, "the layer has too many entries"};
  auto place = find_place(entry.name, entry);
  if (!place) return std::move(place).error();
  if (place->name.starts_with(kMark)) return apply_mark(*place);
  if (entry.type == TarEntry::Type::kDirectory) return apply_directory(*place, entry);
  if (place->name.empty()) return refuse(entry.name, "the root is not a directory");
  if (entry.type == TarEntry::Type::kHardLink) return apply_hard_link(*place, entry);

  auto node = node_from(entry);
  if (!node) return std::move(node).error();
  node->first_block = first_block;
  auto put_node = put(*place, *std::move(node));
  return put_node ? base::Result<void>() : std::move(put_node).error();
}

}  // namespace images
