#include "images/store/layers/erofs_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "images/store/layers/erofs_format.h"
#include "vmm/base/units.h"

namespace images {

namespace {

using erofs::kBlockSize;
using erofs::kSlotSize;

static_assert(std::endian::native == std::endian::little, "structures are written as they lie");

/// Where one inode goes. `nid` is its position in the inode area, in slots.
struct Plan {
  NodeIndex node = 0;
  NodeIndex parent = 0;
  std::uint64_t nid = 0;
  std::uint32_t links = 0;
  erofs::DataLayout layout = erofs::DataLayout::kPlain;
  std::uint32_t block = 0;  // of the data that is not inline
  std::uint64_t size = 0;   // of the file, directory or link
  std::uint64_t xattr_bytes = 0;
};

constexpr std::uint32_t kNoPlan = std::numeric_limits<std::uint32_t>::max();

struct XattrName {
  std::uint8_t index;
  std::string_view rest;
};

XattrName split_xattr(std::string_view name) {
  constexpr std::pair<std::string_view, std::uint8_t> kPrefixes[] = {
      {"user.", 1},
      {"system.posix_acl_access", 2},
      {"system.posix_acl_default", 3},
      {"trusted.", 4},
      {"security.", 6},
  };
  for (const auto& [prefix, index] : kPrefixes)
    if (name.starts_with(prefix)) return {index, name.substr(prefix.size())};
  return {0, name};  // not reached: LayerTree keeps no others
}

template <typename T>
void append_struct(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string encode_xattrs(const Node& node) {
  std::string out;
  if (node.xattrs.empty()) return out;
  append_struct(out, erofs::XattrHeader{});
  for (const auto& [name, value] : node.xattrs) {
    const XattrName split = split_xattr(name);
    append_struct(out,
                  erofs::XattrEntry{.name_length = static_cast<std::uint8_t>(split.rest.size()),
                                    .name_index = split.index,
                                    .value_size = static_cast<std::uint16_t>(value.size())});
    out.append(split.rest).append(value);
    out.resize(base::round_up(out.size(), 4));
  }
  return out;
}

std::uint8_t dirent_type(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

std::uint32_t encode_device(const Node& node) {
  return (node.device_minor & 0xffu) | node.device_major << 8 | (node.device_minor & ~0xffu) << 12;
}

/// The directory's entries, "." and ".." among them, in byte order.
std::vector<std::pair<std::string_view, NodeIndex>> entries_of(const Node& directory,
                                                               NodeIndex self, NodeIndex parent) {
  std::vector<std::pair<std::string_view, NodeIndex>> entries;
  entries.reserve(directory.children.size() + 2);
  for (const auto& [name, child] : directory.children) entries.emplace_back(name, child);
  for (const auto& dots : {std::pair<std::string_view, NodeIndex>{".", self}, {"..", parent}})
    entries.insert(std::lower_bound(entries.begin(), entries.end(), dots), dots);
  return entries;
}

/// Cuts entries into blocks: for each block, the index of its first entry. Sets the total size.
std::vector<std::size_t> cut_into_blocks(
    const std::vector<std::pair<std::string_view, NodeIndex>>& entries, std::uint64_t& size) {
  std::vector<std::size_t> firsts{0};
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t need = sizeof(erofs::Dirent) + entries[i].first.size();
    if (used + need > kBlockSize) {
      firsts.push_back(i);
      used = 0;
    }
    used += need;
  }
  size = (firsts.size() - 1) * kBlockSize + used;
  return firsts;
}

/// Lays the inodes out, then writes them.
class MetadataWriter {
 public:
  MetadataWriter(const LayerTree& tree, BlockWriter& blocks) : tree_(tree), blocks_(blocks) {}

  base::Result<void> write();
  std::uint64_t inodes() const { return plans_.size(); }
  std::uint64_t content_bytes() const { return content_bytes_; }
  std::uint32_t meta_block() const { return meta_block_; }
  std::uint16_t root_nid() const { return static_cast<std::uint16_t>(plans_[0].nid); }

 private:
  void collect();
  void visit(NodeIndex node, NodeIndex parent);
  void plan_data(Plan& plan);
  void place_inode(Plan& plan);
  base::Result<void> write_large_directories();
  base::Result<void> write_inodes();
  std::string directory_bytes(const Plan& plan) const;
  std::string inline_bytes(const Plan& plan) const;
  erofs::Inode inode_of(const Plan& plan, std::uint32_t number) const;
  const Node& node_of(const Plan& plan) const { return tree_.node(plan.node); }
  std::uint64_t tail_bytes(const Plan& plan) const {
    return plan.layout == erofs::DataLayout::kInline ? plan.size % kBlockSize : 0;
  }

  const LayerTree& tree_;
  BlockWriter& blocks_;
  std::vector<Plan> plans_;                   // breadth first from the root
  std::vector<std::uint32_t> plan_of_node_;   // index into plans_, or kNoPlan
  std::uint64_t area_bytes_ = 2 * kSlotSize;  // of the inode area so far; no inode is number 0
  std::uint64_t content_bytes_ = 0;
  std::uint32_t meta_block_ = 0;
};

void MetadataWriter::visit(NodeIndex node, NodeIndex parent) {
  if (node >= plan_of_node_.size()) plan_of_node_.resize(node + 1, kNoPlan);
  std::uint32_t& index = plan_of_node_[node];
  if (index == kNoPlan) {
    index = static_cast<std::uint32_t>(plans_.size());
    plans_.push_back({.node = node, .parent = parent});
  }
  ++plans_[index].links;
}

void MetadataWriter::collect() {
  visit(LayerTree::kRoot, LayerTree::kRoot);
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    const NodeIndex self = plans_[i].node;
    for (const auto& [name, child] : tree_.node(self).children) {
      visit(child, self);
      if (tree_.node(child).is_directory()) ++plans_[i].links;  // its ".."
    }
    if (tree_.node(self).is_directory()) ++plans_[i].links;  // its "."
  }
}

void MetadataWriter::plan_data(Plan& plan) {
  const Node& node = node_of(plan);
  if (node.is_regular()) {
    plan.size = node.size;
    plan.block = node.size == 0 ? 0 : node.first_block;
    content_bytes_ += node.size;
  } else if (node.is_directory()) {
    cut_into_blocks(entries_of(node, plan.node, plan.parent), plan.size);
    plan.layout = erofs::DataLayout::kInline;
  } else if (node.is_symlink()) {
    plan.size = node.target.size();
    plan.layout = erofs::DataLayout::kInline;
  }
  if (plan.size % kBlockSize == 0) plan.layout = erofs::DataLayout::kPlain;
}

// An inode may not cross a block boundary, and neither may its inline tail. Where that cannot be,
// the data is not inline.
void MetadataWriter::place_inode(Plan& plan) {
  plan.xattr_bytes = encode_xattrs(node_of(plan)).size();
  const std::uint64_t tail = tail_bytes(plan);
  std::uint64_t at = base::round_up(area_bytes_, kSlotSize);
  for (std::uint64_t tries = 0;; ++tries, at += kSlotSize) {
    const std::uint64_t tail_at = at + sizeof(erofs::Inode) + plan.xattr_bytes;
    const bool whole = at % kBlockSize + sizeof(erofs::Inode) <= kBlockSize;
    const bool tail_whole = tail == 0 || tail_at % kBlockSize + tail <= kBlockSize;
    if (whole && tail_whole) break;
    if (tries > kBlockSize / kSlotSize) {
      plan.layout = erofs::DataLayout::kPlain;
      return place_inode(plan);
    }
  }
  plan.nid = at / kSlotSize;
  area_bytes_ = at + sizeof(erofs::Inode) + plan.xattr_bytes + tail;
}

std::string MetadataWriter::directory_bytes(const Plan& plan) const {
  const auto entries = entries_of(node_of(plan), plan.node, plan.parent);
  std::uint64_t size = 0;
  std::vector<std::size_t> firsts = cut_into_blocks(entries, size);
  firsts.push_back(entries.size());
  std::string out;
  for (std::size_t block = 0; block + 1 < firsts.size(); ++block) {
    out.resize(block * kBlockSize);
    std::string names;
    const std::size_t heads = (firsts[block + 1] - firsts[block]) * sizeof(erofs::Dirent);
    for (std::size_t i = firsts[block]; i < firsts[block + 1]; ++i) {
      const auto& [name, node] = entries[i];
      append_struct(out,
                    erofs::Dirent{.nid = plans_[plan_of_node_[node]].nid,
                                  .name_offset = static_cast<std::uint16_t>(heads + names.size()),
                                  .type = dirent_type(tree_.node(node).mode)});
      names += name;
    }
    out += names;
  }
  return out;
}

// Blocks of directories (and absurdly long links) that are not inline.
base::Result<void> MetadataWriter::write_large_directories() {
  for (Plan& plan : plans_) {
    const Node& node = node_of(plan);
    if (node.is_regular() || plan.size == 0) continue;
    const std::uint64_t in_blocks = plan.size - tail_bytes(plan);
    if (in_blocks == 0) continue;
    const std::string bytes = node.is_directory() ? directory_bytes(plan) : node.target;
    plan.block = blocks_.block();
    RETURN_IF_ERROR(blocks_.append(std::as_bytes(std::span(bytes)).first(in_blocks)));
    RETURN_IF_ERROR(blocks_.pad_to_block());
  }
  return {};
}

std::string MetadataWriter::inline_bytes(const Plan& plan) const {
  const std::uint64_t tail = tail_bytes(plan);
  if (tail == 0) return {};
  const std::string bytes =
      node_of(plan).is_directory() ? directory_bytes(plan) : node_of(plan).target;
  return bytes.substr(bytes.size() - tail);
}

erofs::Inode MetadataWriter::inode_of(const Plan& plan, std::uint32_t number) const {
  const Node& node = node_of(plan);
  erofs::Inode inode;
  inode.format = static_cast<std::uint16_t>(1u | static_cast<unsigned>(plan.layout) << 1);
  if (plan.xattr_bytes > 0)
    inode.xattr_count =
        static_cast<std::uint16_t>(1 + (plan.xattr_bytes - sizeof(erofs::XattrHeader)) / 4);
  inode.mode = static_cast<std::uint16_t>(node.mode);
  inode.size = plan.size;
  inode.block_or_device =
      S_ISCHR(node.mode) || S_ISBLK(node.mode) ? encode_device(node) : plan.block;
  inode.number = number;
  inode.uid = node.uid;
  inode.gid = node.gid;
  inode.mtime = node.mtime_seconds;
  inode.mtime_nanoseconds = node.mtime_nanoseconds;
  inode.links = plan.links;
  return inode;
}

base::Result<void> MetadataWriter::write_inodes() {
  meta_block_ = blocks_.block();
  const std::uint64_t start = blocks_.position();
  std::uint32_t number = 0;
  for (const Plan& plan : plans_) {
    RETURN_IF_ERROR(blocks_.append_zeros(start + plan.nid * kSlotSize - blocks_.position()));
    std::string bytes;
    append_struct(bytes, inode_of(plan, ++number));
    bytes += encode_xattrs(node_of(plan));
    bytes += inline_bytes(plan);
    RETURN_IF_ERROR(blocks_.append(std::as_bytes(std::span(bytes))));
  }
  return blocks_.pad_to_block();
}

base::Result<void> MetadataWriter::write() {
  collect();
  for (Plan& plan : plans_) {
    plan_data(plan);
    place_inode(plan);
  }
  RETURN_IF_ERROR(write_large_directories());
  return write_inodes();
}

/// CRC-32C (Castagnoli) without the final inversion: what the kernel computes.
std::uint32_t crc32c(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0u);
  }
  return crc;
}

base::Result<void> write_superblock(int fd, erofs::Superblock superblock) {
  std::vector<std::byte> block(kBlockSize - erofs::kSuperblockOffset);
  std::memcpy(block.data(), &superblock, sizeof superblock);
  superblock.checksum = crc32c(block);
  const ssize_t put = ::pwrite(fd, &superblock, sizeof superblock, erofs::kSuperblockOffset);
  if (put != sizeof superblock) return base::errno_error("write layer", put < 0 ? errno : EIO);
  return {};
}

}  // namespace

base::Result<void> ErofsWriter::begin() { return blocks_.append_zeros(kBlockSize); }

base::Result<ErofsWriter::Summary> ErofsWriter::finish(const LayerTree& tree,
                                                       const std::array<std::uint8_t, 16>& uuid) {
  MetadataWriter metadata(tree, blocks_);
  RETURN_IF_ERROR(metadata.write());
  RETURN_IF_ERROR(blocks_.finish());
  erofs::Superblock superblock;
  superblock.feature_compat = erofs::kCompatChecksum | erofs::kCompatMtime;
  superblock.root_nid = metadata.root_nid();
  superblock.inodes = metadata.inodes();
  superblock.blocks = static_cast<std::uint32_t>(blocks_.position() / kBlockSize);
  superblock.meta_block = metadata.meta_block();
  std::memcpy(superblock.uuid, uuid.data(), uuid.size());
  RETURN_IF_ERROR(write_superblock(fd_, superblock));
  return Summary{.bytes = blocks_.position(), .content_bytes = metadata.content_bytes()};
}

}  // namespace images
