#include "api/engine/build/sources/copy_sources.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "images/dockerfile/patterns.h"
#include "images/dockerfile/text.h"
#include "images/store/streams/decompress.h"
#include "images/store/streams/digest.h"
#include "vmm/base/wire.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

namespace {

std::string clean(std::string_view path) {
  return dockerfile::clean_path("/" + std::string(path)).substr(1);
}

/// "x/../../y" must not stand for "y".
bool leads_outside(std::string_view path) {
  const std::string relative =
      dockerfile::clean_path(path.substr(std::min(path.find_first_not_of('/'), path.size())));
  return relative == ".." || relative.starts_with("../");
}

std::string list_hash(const char* kind, const std::vector<std::string>& parts) {
  return kind + (":" + images::digest_of(dockerfile::joined(parts, ",")).substr(7));
}

/// The sum of what a path leads to; of what has none, the path itself.
std::string sum_at(const FileTree& tree, const std::string& path) {
  const auto real = tree.resolve(path);
  const TreeNode* node = real ? tree.find(*real) : nullptr;
  return node == nullptr || node->sum.empty() ? path : node->sum;
}

/// `name`: what a message calls it.
Result<CopySource> one_source(const TreePtr& tree, const std::string& path, std::string_view name,
                              bool from_image) {
  if (name.size() > 1 && name.starts_with('/')) name.remove_prefix(1);
  if (name.starts_with("./")) name.remove_prefix(2);
  const std::string shown(name);
  const Error missing{Code::kNotFound,
                      from_image ? "stat " + shown + ": file does not exist"
                                 : "file not found in build context or excluded by .dockerignore: "
                                   "stat " +
                                       shown + ": file does not exist"};
  const auto real = tree->resolve(path);
  if (!real) return Error{Code::kInvalidArgument, path + ": too many levels of symbolic links"};
  const TreeNode* node = tree->find(*real);
  if (node == nullptr && !real->empty()) return missing;
  if (node != nullptr && node->entry.kind != files::EntryKind::kDirectory)
    return CopySource{.tree = tree, .path = path, .hash = "file:" + sum_at(*tree, path)};
  std::vector<std::string> sums;
  if (!real->empty()) sums.push_back(sum_at(*tree, *real));
  for (const std::string& inside : tree->below(*real)) sums.push_back(sum_at(*tree, inside));
  std::sort(sums.begin(), sums.end());
  return CopySource{.tree = tree, .path = path, .hash = list_hash("dir", sums)};
}

class Sender {
 public:
  Sender(images::Store& store, const CopyPlan& plan, images::ByteSink& out)
      : store_(store), plan_(plan), sink_(out) {}

  Result<void> run() {
    for (const CopySource& source : plan_.sources) {
      const std::string real = source.tree->resolve(source.path).value_or("");
      const TreeNode* node = source.tree->find(real);
      if (node == nullptr || node->entry.kind == files::EntryKind::kDirectory) {
        RETURN_IF_ERROR(send_directory(*source.tree, real, plan_.owner, /*of_archive=*/false));
        continue;
      }
      const auto archive =
          source.downloaded ? Result<TreePtr>(TreePtr()) : open_archive(*source.tree, *node);
      if (!archive) return archive.error();
      if (*archive) {
        RETURN_IF_ERROR(send_directory(**archive, "", "", /*of_archive=*/true));
      } else {
        RETURN_IF_ERROR(send_file(*source.tree, source.path, *node));
      }
    }
    return send(files::End{});
  }

 private:
  template <typename M>
  Result<void> send(const M& message) {
    return sink_.write(wire::frame(message));
  }

  Result<void> send_file(const FileTree& tree, const std::string& path, const TreeNode& node) {
    const std::string name = path.substr(path.rfind('/') + 1);
    RETURN_IF_ERROR(send(files::Place{.kind = files::PlaceKind::kFile,
                                      .path = plan_.destination,
                                      .name = name,
                                      .owner = plan_.owner}));
    files::Entry entry = node.entry;
    entry.path = name;
    entry.attributes.clear();  // as the classic builder copies a single file
    set_mode(entry);
    RETURN_IF_ERROR(send(entry));
    return send_contents(tree, node);
  }

  Result<void> send_directory(const FileTree& tree, const std::string& directory,
                              const std::string& owner, bool of_archive) {
    RETURN_IF_ERROR(send(files::Place{.kind = files::PlaceKind::kDirectory,
                                      .path = plan_.destination,
                                      .name = {},
                                      .owner = owner}));
    std::map<std::string, std::string> sent;  // files with several names: where the first went
    const std::size_t prefix = directory.empty() ? 0 : directory.size() + 1;
    for (const std::string& path : tree.below(directory)) {
      const TreeNode& node = *tree.find(path);
      files::Entry entry = node.entry;
      entry.path = path.substr(prefix);
      if (!of_archive) {  // as the classic builder copies a directory
        std::erase_if(entry.attributes, [](const files::ExtendedAttribute& attribute) {
          return attribute.name != "security.capability";
        });
        set_mode(entry);
      }
      const std::string& first = node.same_as.empty() ? path : node.same_as;
      const auto [known, is_new] = sent.emplace(first, entry.path);
      if (!is_new) {
        entry.kind = files::EntryKind::kHardLink;
        entry.link = known->second;
        entry.size = 0;
        RETURN_IF_ERROR(send(entry));
        continue;
      }
      RETURN_IF_ERROR(send(entry));
      RETURN_IF_ERROR(send_contents(tree, node));
    }
    return {};
  }

  void set_mode(files::Entry& entry) const {
    if (plan_.mode && entry.kind != files::EntryKind::kSymbolicLink) entry.mode = *plan_.mode;
  }

  Result<void> send_contents(const FileTree& tree, const TreeNode& node) {
    files::Data data;
    for (std::uint64_t at = 0; at < node.entry.size; at += data.bytes.size()) {
      data.bytes.resize(static_cast<std::size_t>(
          std::min<std::uint64_t>(node.entry.size - at, files::kDataBytes)));
      RETURN_IF_ERROR(tree.contents(node, at, data.bytes));
      RETURN_IF_ERROR(send(data));
    }
    return {};
  }

  /// The files of an archive, compressed or not, that is to be extracted; null if it is no archive.
  /// An archive that is too large is an Error: it must not pass for a file.
  Result<TreePtr> open_archive(const FileTree& tree, const TreeNode& node) {
    const auto none = [this](const Error& why) {
      const bool is_one = why.code == Code::kResourceExhausted || plan_.stop.stop_requested();
      return is_one ? Result<TreePtr>(why) : Result<TreePtr>(nullptr);
    };
    if (!plan_.extracts || node.entry.kind != files::EntryKind::kFile || node.sparse ||
        node.entry.size == 0)
      return TreePtr();
    std::array<std::byte, 6> first{};
    const auto head = std::span(first).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(6, node.entry.size)));
    RETURN_IF_ERROR(tree.contents(node, 0, head));
    auto plain = spool_file(plan_.spool_directory);
    if (!plain) return std::move(plain).error();
    std::uint64_t bytes = node.entry.size;
    if (images::sniff_compression(head) != images::Compression::kNone) {
      const auto unpacked =
          store_.decompress(tree.file(), node.offset, node.entry.size, plain->get(), plan_.stop);
      if (!unpacked) return none(unpacked.error());
      bytes = *unpacked;
    } else {
      const auto copied = copy_plain(tree, node, plain->get());
      if (!copied) return copied.error();
      if (!*copied) return TreePtr();
    }
    auto archive =
        FileTree::read(std::make_shared<base::UniqueFd>(*std::move(plain)), bytes, plan_.stop);
    if (!archive) return none(archive.error());
    if (archive->below("").empty()) return TreePtr();
    return TreePtr(std::make_shared<const FileTree>(*std::move(archive)));
  }

  /// Copies a file that begins as a tar does. False: it does not, so there is nothing to try.
  static Result<bool> copy_plain(const FileTree& tree, const TreeNode& node, int out) {
    constexpr std::size_t kHeader = 512;
    std::vector<std::byte> buffer(64u << 10);
    if (node.entry.size < kHeader) return false;
    RETURN_IF_ERROR(tree.contents(node, 0, std::span(buffer).first(kHeader)));
    images::SpanSource header(std::span<const std::byte>(buffer).first(kHeader));
    if (images::TarReader reader(header); !reader.next()) return false;
    images::SparseFileSink sink(out);
    for (std::uint64_t at = 0; at < node.entry.size; at += buffer.size()) {
      buffer.resize(
          static_cast<std::size_t>(std::min<std::uint64_t>(node.entry.size - at, buffer.size())));
      RETURN_IF_ERROR(tree.contents(node, at, buffer));
      RETURN_IF_ERROR(sink.write(buffer));
    }
    RETURN_IF_ERROR(sink.finish());
    return true;
  }

  images::Store& store_;
  const CopyPlan& plan_;
  images::ByteSink& sink_;
};

}  // namespace

Result<base::UniqueFd> spool_file(const std::string& directory) {
  base::UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  // Not every file system has files without names.
  std::string path = directory + "/build-XXXXXX";
  base::UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return base::errno_error("create a file in " + directory);
  ::unlink(path.c_str());
  return named;
}

Result<std::vector<CopySource>> find_sources(TreePtr tree, const std::string& name,
                                             bool from_image) {
  if (leads_outside(name))
    return Error{Code::kInvalidArgument,
                 "forbidden path outside the build context: " + name + " ()"};
  std::vector<CopySource> found;
  if (!dockerfile::has_wildcards(name)) {
    auto source = one_source(tree, clean(name), name, from_image);
    if (!source) return std::move(source).error();
    found.push_back(*std::move(source));
    return found;
  }
  const std::string pattern = clean(name);
  for (const std::string& path : tree->below("")) {
    const auto same = dockerfile::matches(pattern, path);
    if (!same || !*same) continue;
    auto source = one_source(tree, path, path, from_image);
    if (!source) return std::move(source).error();
    found.push_back(*std::move(source));
  }
  return found;
}

std::string hash_of_sources(const std::vector<CopySource>& sources) {
  if (sources.size() == 1) return sources.front().hash;
  std::vector<std::string> hashes;
  for (const CopySource& source : sources) hashes.push_back(source.hash);
  return list_hash("multi", hashes);
}

Result<void> send_copy(images::Store& store, const CopyPlan& plan, images::ByteSink& out) {
  return Sender(store, plan, out).run();
}

}  // namespace engine::build
