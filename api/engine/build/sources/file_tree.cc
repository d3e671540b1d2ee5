#include "api/engine/build/sources/file_tree.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "api/engine/files/file_time.h"
#include "images/dockerfile/text.h"
#include "images/store/streams/digest.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using images::TarEntry;

namespace files = protocol::files;

namespace {

constexpr std::size_t kMaxNodes = 1'000'000;
constexpr std::uint64_t kMaxMetadata = 512u << 20;
constexpr int kMaxLinks = 255;
constexpr std::size_t kMaxPath = 4096;

/// "./a//b/" -> "a/b"; "" for the root. As if the root had no parent.
std::string clean(std::string_view path) {
  return dockerfile::clean_path("/" + std::string(path)).substr(1);
}

std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(path.substr(0, slash));
}

files::EntryKind kind_of(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kRegular:
      return files::EntryKind::kFile;
    case TarEntry::Type::kHardLink:
      return files::EntryKind::kHardLink;
    case TarEntry::Type::kSymlink:
      return files::EntryKind::kSymbolicLink;
    case TarEntry::Type::kCharDevice:
      return files::EntryKind::kCharacterDevice;
    case TarEntry::Type::kBlockDevice:
      return files::EntryKind::kBlockDevice;
    case TarEntry::Type::kDirectory:
      return files::EntryKind::kDirectory;
    case TarEntry::Type::kFifo:
      return files::EntryKind::kFifo;
  }
  return files::EntryKind::kFile;
}

files::Entry entry_of(const TarEntry& from) {
  files::Entry entry;
  entry.path = clean(from.name);
  entry.kind = kind_of(from.type);
  entry.mode = from.mode;
  entry.user = from.uid;
  entry.group = from.gid;
  entry.size = from.size;
  entry.modified_ns = file_time_ns(from.mtime_seconds, from.mtime_nanoseconds);
  entry.link = from.link_name;
  entry.device_major = from.device_major;
  entry.device_minor = from.device_minor;
  for (const auto& [name, value] : from.xattrs) {
    const auto* bytes = reinterpret_cast<const std::byte*>(value.data());
    entry.attributes.push_back({.name = name, .value = {bytes, bytes + value.size()}});
  }
  return entry;
}

/// The hexadecimal sum of a tar entry; reads its contents.
Result<std::string> sum_of(images::TarReader& reader, const TarEntry& entry,
                           const files::Entry& file, const std::stop_token& stop) {
  images::Sha256 hash;
  const std::string header = summed_header(file, entry.raw, entry.name);
  hash.update(std::as_bytes(std::span(header)));
  std::array<std::byte, 64u << 10> buffer;
  for (;;) {
    const auto got = reader.read(buffer);
    if (!got) return got.error();
    if (*got == 0) break;
    if (stop.stop_requested())
      return Error{Code::kUnavailable, "the build was cancelled while its context was read"};
    hash.update(std::span(buffer).first(*got));
  }
  return images::to_digest_string(hash.finish()).substr(7);
}

Error too_large() {
  return {Code::kResourceExhausted, "the build context has more files than this host takes"};
}

}  // namespace

std::string summed_header(const files::Entry& entry, const TarEntry::Raw& raw,
                          std::string_view name) {
  const bool link =
      entry.kind == files::EntryKind::kHardLink || entry.kind == files::EntryKind::kSymbolicLink;
  std::string text = "name" + std::string(name) + "mode" + std::to_string(raw.mode) + "uid" +
                     std::to_string(entry.user) + "gid" + std::to_string(entry.group) + "size" +
                     std::to_string(entry.size) + "typeflag" + raw.type_flag + "linkname" +
                     (link ? entry.link : "") + "uname" + raw.user_name + "gname" + raw.group_name +
                     "devmajor" + std::to_string(entry.device_major) + "devminor" +
                     std::to_string(entry.device_minor);
  for (const files::ExtendedAttribute& attribute : entry.attributes) {
    text += attribute.name;
    text.append(reinterpret_cast<const char*>(attribute.value.data()), attribute.value.size());
  }
  return text;
}

TarEntry::Raw raw_of(const files::Entry& entry) {
  TarEntry::Raw raw;
  raw.mode = entry.mode;
  switch (entry.kind) {
    case files::EntryKind::kDirectory:
      raw.type_flag = '5';
      break;
    case files::EntryKind::kSymbolicLink:
      raw.type_flag = '2';
      break;
    case files::EntryKind::kCharacterDevice:
      raw.type_flag = '3';
      break;
    case files::EntryKind::kBlockDevice:
      raw.type_flag = '4';
      break;
    case files::EntryKind::kFifo:
      raw.type_flag = '6';
      break;
    default:
      raw.type_flag = '0';
  }
  return raw;
}

bool FileTree::InOrder::operator()(std::string_view a, std::string_view b) const {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (x == a.end() || y == b.end()) return x == a.end() && y != b.end();
  if (*x == '/' || *y == '/') return *x == '/';
  return static_cast<unsigned char>(*x) < static_cast<unsigned char>(*y);
}

const TreeNode* FileTree::find(std::string_view path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : &found->second;
}

std::optional<std::string> FileTree::resolve(std::string_view path) const {
  std::string done;
  std::string rest = clean(path);
  for (int links = 0; !rest.empty();) {
    const std::string part = rest.substr(0, rest.find('/'));
    rest.erase(0, std::min(rest.size(), part.size() + 1));
    const std::string next = done.empty() ? part : done + "/" + part;
    const TreeNode* node = find(next);
    if (node == nullptr || node->entry.kind != files::EntryKind::kSymbolicLink) {
      done = next;
      continue;
    }
    if (++links > kMaxLinks) return std::nullopt;
    const std::string& target = node->entry.link;
    rest = clean((target.starts_with('/') ? target : done + "/" + target) + "/" + rest);
    if (rest.size() > kMaxPath * 2) return std::nullopt;
    done.clear();
  }
  return done;
}

std::vector<std::string> FileTree::below(std::string_view directory) const {
  std::vector<std::string> paths;
  auto at = directory.empty() ? nodes_.begin() : nodes_.upper_bound(directory);
  for (; at != nodes_.end(); ++at) {
    const std::string& path = at->first;
    if (!directory.empty() && !(path.size() > directory.size() && path.starts_with(directory) &&
                                path[directory.size()] == '/'))
      break;
    paths.push_back(path);
  }
  return paths;
}

void FileTree::remove(std::string_view path) {
  for (const std::string& inside : below(path)) nodes_.erase(inside);
  if (const auto found = nodes_.find(path); found != nodes_.end()) nodes_.erase(found);
}

Result<void> FileTree::make_parents(const std::string& path) {
  if (path.empty()) return {};
  if (const TreeNode* node = find(path)) {
    if (node->entry.kind == files::EntryKind::kDirectory) return {};
    remove(path);
  }
  RETURN_IF_ERROR(make_parents(parent_of(path)));
  TreeNode made;
  made.entry.path = path;
  made.entry.kind = files::EntryKind::kDirectory;
  made.entry.mode = 0755;
  made.entry.modified_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  if (nodes_.size() >= kMaxNodes) return too_large();
  nodes_.emplace(path, std::move(made));
  return {};
}

Result<void> FileTree::insert(TreeNode node) {
  const std::string& path = node.entry.path;
  metadata_bytes_ += path.size() + node.entry.link.size() + sizeof(TreeNode) +
                     (node.sparse ? node.sparse->size() * sizeof(images::SparseRegion) : 0);
  for (const files::ExtendedAttribute& attribute : node.entry.attributes)
    metadata_bytes_ += attribute.name.size() + attribute.value.size();
  if (nodes_.size() >= kMaxNodes || metadata_bytes_ > kMaxMetadata) return too_large();
  const TreeNode* old = find(path);
  const bool merges = old != nullptr && old->entry.kind == files::EntryKind::kDirectory &&
                      node.entry.kind == files::EntryKind::kDirectory;
  if (old != nullptr && !merges) remove(path);
  nodes_.insert_or_assign(path, std::move(node));
  return {};
}

Result<void> FileTree::add(TreeNode node) {
  if (node.entry.path.empty() || node.entry.path == ".") return {};  // the root itself
  if (node.entry.path.size() > kMaxPath)
    return Error{Code::kInvalidArgument, "a name in the build context is too long"};
  // Where its directory really is: a link inside of the tree may lead there.
  const auto directory = resolve(parent_of(node.entry.path));
  if (!directory)
    return Error{Code::kInvalidArgument, node.entry.path + ": too many levels of symbolic links"};
  RETURN_IF_ERROR(make_parents(*directory));
  const std::string name = node.entry.path.substr(node.entry.path.rfind('/') + 1);
  node.entry.path = directory->empty() ? name : *directory + "/" + name;
  if (node.entry.kind != files::EntryKind::kHardLink) return insert(std::move(node));

  const TreeNode* target = find(clean(node.entry.link));
  if (target == nullptr || target->entry.kind == files::EntryKind::kDirectory)
    return Error{Code::kInvalidArgument,
                 "invalid hardlink " + node.entry.path + " -> " + node.entry.link};
  TreeNode same = *target;
  same.same_as = target->same_as.empty() ? target->entry.path : target->same_as;
  same.sum = node.sum;
  same.entry.path = node.entry.path;
  return insert(std::move(same));
}

Result<FileTree> FileTree::read(std::shared_ptr<const base::UniqueFd> file, std::uint64_t bytes,
                                const std::stop_token& stop) {
  FileTree tree(file);
  images::RangeSource source(file->get(), 0, bytes);
  images::TarReader reader(source);
  for (;;) {
    const auto entry = reader.next();
    if (!entry) return entry.error();
    if (!*entry) return tree;
    TreeNode node;
    node.entry = entry_of(**entry);
    node.offset = reader.position();
    node.sparse = (*entry)->sparse;
    auto sum = sum_of(reader, **entry, node.entry, stop);
    if (!sum) return std::move(sum).error();
    node.sum = *std::move(sum);
    RETURN_IF_ERROR(tree.add(std::move(node)));
  }
}

namespace {

Result<void> read_at(int file, std::uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(file, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read the build context");
    if (got == 0) return Error{Code::kDataLoss, "the build context is cut short"};
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace

Result<void> FileTree::contents(const TreeNode& node, std::uint64_t from,
                                std::span<std::byte> out) const {
  if (!node.sparse) return read_at(file(), node.offset + from, out);
  std::fill(out.begin(), out.end(), std::byte{0});
  std::uint64_t stored = node.offset;
  for (const images::SparseRegion& region : *node.sparse) {
    const std::uint64_t begin = std::max(region.offset, from);
    const std::uint64_t end = std::min(region.offset + region.length, from + out.size());
    if (begin < end)
      RETURN_IF_ERROR(read_at(file(), stored + (begin - region.offset),
                              out.subspan(static_cast<std::size_t>(begin - from),
                                          static_cast<std::size_t>(end - begin))));
    stored += region.length;
  }
  return {};
}

}  // namespace engine::build
