// ErofsView: reads a small EROFS in memory, for tests. Written from the format's description, not
// from the writer; every out-of-range access throws.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/layers/erofs_format.h"

namespace images::testing {

struct ErofsFile {
  erofs::Inode inode;
  std::uint64_t nid = 0;
  std::map<std::string, std::string> xattrs;
  std::string data;  // contents, link target, or directory blocks
};

class ErofsView {
 public:
  explicit ErofsView(std::string bytes) : bytes_(std::move(bytes)) {
    super_ = at<erofs::Superblock>(1024);
    if (super_.magic != erofs::kMagic) throw std::runtime_error("not an EROFS");
  }

  const erofs::Superblock& superblock() const { return super_; }
  ErofsFile root() const { return load(super_.root_nid); }

  /// "a/b/c" without following links. Throws if it is not there.
  ErofsFile find(std::string_view path) const {
    ErofsFile file = root();
    while (!path.empty()) {
      const std::size_t slash = std::min(path.find('/'), path.size());
      const auto entries = list(file);
      const auto found = entries.find(std::string(path.substr(0, slash)));
      if (found == entries.end()) throw std::out_of_range("no " + std::string(path));
      file = load(found->second.nid);
      path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return file;
  }

  bool contains(std::string_view path) const {
    try {
      find(path);
      return true;
    } catch (const std::out_of_range&) {
      return false;
    }
  }

  /// The directory's entries, "." and ".." too. Throws if they are not in order.
  std::map<std::string, erofs::Dirent> list(const ErofsFile& directory) const {
    std::map<std::string, erofs::Dirent> entries;
    std::string last;
    for (std::size_t start = 0; start < directory.data.size(); start += erofs::kBlockSize) {
      const std::string block = directory.data.substr(start, erofs::kBlockSize);
      erofs::Dirent first;
      copy(block, 0, first);
      const std::size_t count = first.name_offset / sizeof(erofs::Dirent);
      for (std::size_t i = 0; i < count; ++i) {
        erofs::Dirent entry;
        copy(block, i * sizeof entry, entry);
        std::size_t end = block.size();
        if (i + 1 < count) {
          erofs::Dirent next;
          copy(block, (i + 1) * sizeof next, next);
          end = next.name_offset;
        }
        std::string name = block.substr(entry.name_offset, end - entry.name_offset);
        name.resize(std::min(name.find('\0'), name.size()));
        if (!last.empty() && !(last < name)) throw std::runtime_error("names out of order");
        last = name;
        entries[name] = entry;
      }
    }
    return entries;
  }

  /// The inode at `nid` and what belongs to it.
  ErofsFile load(std::uint64_t nid) const {
    ErofsFile file;
    file.nid = nid;
    const std::uint64_t offset = super_.meta_block * erofs::kBlockSize + nid * erofs::kSlotSize;
    file.inode = at<erofs::Inode>(offset);
    if ((file.inode.format & 1) == 0) throw std::runtime_error("not an extended inode");
    std::uint64_t after = offset + sizeof(erofs::Inode);
    if (file.inode.xattr_count > 0) {
      const std::uint64_t end =
          after + sizeof(erofs::XattrHeader) + 4u * (file.inode.xattr_count - 1u);
      load_xattrs(after + sizeof(erofs::XattrHeader), end, file.xattrs);
      after = end;
    }
    const unsigned format = file.inode.mode & 0170000u;
    if (format != 0100000u && format != 0040000u && format != 0120000u) return file;
    const bool is_inline = (file.inode.format >> 1 & 7) == 2;
    const std::uint64_t tail = is_inline ? file.inode.size % erofs::kBlockSize : 0;
    file.data = substring(file.inode.block_or_device * erofs::kBlockSize, file.inode.size - tail);
    if (tail > 0 && after / erofs::kBlockSize != (after + tail - 1) / erofs::kBlockSize)
      throw std::runtime_error("inline data crosses a block");
    file.data += substring(after, tail);
    return file;
  }

 private:
  template <typename T>
  static void copy(std::string_view bytes, std::size_t offset, T& out) {
    if (offset > bytes.size() || sizeof(T) > bytes.size() - offset)
      throw std::runtime_error("beyond the end");
    std::memcpy(&out, bytes.data() + offset, sizeof(T));
  }
  template <typename T>
  T at(std::uint64_t offset) const {
    T value;
    copy(bytes_, offset, value);
    return value;
  }

  void load_xattrs(std::uint64_t offset, std::uint64_t end,
                   std::map<std::string, std::string>& xattrs) const {
    const std::map<int, std::string> prefixes = {{1, "user."},
                                                 {2, "system.posix_acl_access"},
                                                 {3, "system.posix_acl_default"},
                                                 {4, "trusted."},
                                                 {6, "security."}};
    while (offset < end) {
      const auto entry = at<erofs::XattrEntry>(offset);
      offset += sizeof entry;
      const std::string name = prefixes.at(entry.name_index) + substring(offset, entry.name_length);
      xattrs[name] = substring(offset + entry.name_length, entry.value_size);
      offset += (entry.name_length + entry.value_size + 3u) / 4u * 4u;
    }
  }

  std::string substring(std::uint64_t offset, std::uint64_t length) const {
    if (length == 0) return {};
    if (offset > bytes_.size() || length > bytes_.size() - offset)
      throw std::runtime_error("beyond the end");
    return bytes_.substr(offset, length);
  }

  std::string bytes_;
  erofs::Superblock super_;
};

}  // namespace images::testing
