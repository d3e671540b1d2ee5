#include "api/engine/build/sources/build_input.h"

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "images/dockerfile/patterns.h"
#include "images/dockerfile/text.h"
#include "images/store/streams/decompress.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::uint64_t kMaxDockerfileBytes = 1u << 20;

/// The archive that the first `bytes` of a file are.
Result<FileTree> context_in(const InputPlace& place, base::UniqueFd file, std::uint64_t bytes,
                            images::Compression compression, const std::stop_token& stop) {
  if (compression != images::Compression::kNone) {
    auto plain = spool_file(place.directory);
    if (!plain) return std::move(plain).error();
    const auto size = place.store.decompress(file.get(), 0, bytes, plain->get(), stop);
    if (!size) return size.error();
    bytes = *size;
    file = *std::move(plain);
  }
  return FileTree::read(std::make_shared<base::UniqueFd>(std::move(file)), bytes, stop);
}

Result<std::vector<std::byte>> first_bytes(int file, std::uint64_t bytes, std::size_t count) {
  std::vector<std::byte> first(count);
  images::RangeSource head(file, 0, bytes);
  const auto got = images::read_fully(head, first);
  if (!got) return got.error();
  first.resize(*got);
  return first;
}

Result<FileTree> read_context(const InputPlace& place, base::UniqueFd file, std::uint64_t bytes,
                              const std::stop_token& stop) {
  const auto first = first_bytes(file.get(), bytes, 6);
  if (!first) return first.error();
  return context_in(place, std::move(file), bytes, images::sniff_compression(*first), stop);
}

/// The text of a file of the context; nullopt if it is not there.
Result<std::optional<std::string>> text_of(const FileTree& tree, const std::string& name) {
  const auto path = tree.resolve(name);
  const TreeNode* node = path ? tree.find(*path) : nullptr;
  if (node == nullptr || node->entry.kind != protocol::files::EntryKind::kFile)
    return std::optional<std::string>();
  if (node->entry.size > kMaxDockerfileBytes)
    return Error{Code::kResourceExhausted, name + " is larger than the limit"};
  std::string text(static_cast<std::size_t>(node->entry.size), '\0');
  RETURN_IF_ERROR(tree.contents(*node, 0, std::as_writable_bytes(std::span(text))));
  return std::optional<std::string>(std::move(text));
}

Result<dockerfile::Dockerfile> parse_dockerfile(const std::string& name, const std::string& text) {
  if (text.empty())
    return Error{Code::kInvalidArgument, "the Dockerfile (" + name + ") cannot be empty"};
  const auto parsed = dockerfile::parse(text);
  if (!parsed) return base::annotate(parsed.error(), "failed to parse " + name);
  return dockerfile::stages_of(*parsed);
}

/// The client leaves out what .dockerignore names, but for these two, which the host needs.
Result<void> leave_out(FileTree& tree, const std::string& dockerfile) {
  const auto text = text_of(tree, ".dockerignore");
  if (!text) return text.error();
  if (!*text) return {};
  const auto list = dockerfile::IgnoreList::parse(**text);
  if (!list) return list.error();
  for (const std::string& name : {std::string(".dockerignore"), dockerfile})
    if (list->ignores(name)) tree.remove(dockerfile::clean_path("/" + name).substr(1));
  return {};
}

Result<BuildInput> input_of(Result<FileTree> tree, std::string name) {
  if (!tree) return base::annotate(std::move(tree), "Error processing tar file");
  auto text = text_of(*tree, name);
  if (text && !*text && name == "Dockerfile") {
    name = "dockerfile";
    text = text_of(*tree, name);
    if (text && !*text) name = "Dockerfile";
  }
  if (!text) return std::move(text).error();
  if (!*text) return Error{Code::kInternal, "Cannot locate specified Dockerfile: " + name};
  auto parsed = parse_dockerfile(name, **text);
  if (!parsed) return std::move(parsed).error();
  RETURN_IF_ERROR(leave_out(*tree, name));
  return BuildInput{.context = std::make_shared<const FileTree>(*std::move(tree)),
                    .dockerfile = *std::move(parsed)};
}

/// A tar archive has "ustar" in its first header; those before POSIX are not known by their bytes.
bool looks_like_tar(std::span<const std::byte> first) {
  constexpr std::string_view kMagic = "ustar";
  constexpr std::size_t kPlace = 257;
  return first.size() >= kPlace + kMagic.size() &&
         std::memcmp(first.data() + kPlace, kMagic.data(), kMagic.size()) == 0;
}

Result<BuildInput> input_of_text(int file, std::uint64_t bytes, const registry::Url& url) {
  if (bytes > kMaxDockerfileBytes)
    return Error{Code::kInvalidArgument, url.text() + " is neither an archive nor a Dockerfile"};
  const auto data = first_bytes(file, bytes, static_cast<std::size_t>(bytes));
  if (!data) return data.error();
  const std::string text(reinterpret_cast<const char*>(data->data()), data->size());
  if (text.find('\0') != std::string::npos)
    return Error{Code::kInvalidArgument, url.text() + " is neither an archive nor a Dockerfile"};
  auto parsed = parse_dockerfile("Dockerfile", text);
  if (!parsed) return std::move(parsed).error();
  return BuildInput{.context = std::make_shared<const FileTree>(std::make_shared<base::UniqueFd>()),
                    .dockerfile = *std::move(parsed)};
}

}  // namespace

Result<BuildInput> read_input(const InputPlace& place, base::UniqueFd file, std::uint64_t bytes,
                              const std::stop_token& stop) {
  return input_of(read_context(place, std::move(file), bytes, stop), place.dockerfile);
}

Result<BuildInput> fetch_input(const InputPlace& place, registry::Registries& web,
                               const registry::Url& url, std::stop_token stop) {
  auto file = spool_file(place.directory);
  if (!file) return std::move(file).error();
  images::FdSink sink(file->get());
  const auto fetched = web.fetch_file(
      url, sink, [](std::uint64_t, std::uint64_t) {}, stop);
  if (!fetched) return fetched.error();
  const auto first = first_bytes(file->get(), fetched->bytes, 512);
  if (!first) return first.error();
  const images::Compression compression = images::sniff_compression(*first);
  if (compression == images::Compression::kNone && !looks_like_tar(*first))
    return input_of_text(file->get(), fetched->bytes, url);
  return input_of(context_in(place, *std::move(file), fetched->bytes, compression, stop),
                  place.dockerfile);
}

Result<registry::Url> parse_remote(const std::string& text) {
  const std::string shown = text.substr(0, 256);
  const bool is_web = text.starts_with("http://") || text.starts_with("https://");
  const std::string path = text.substr(0, text.find('#'));
  if (text.starts_with("git://") || text.starts_with("git@") || text.starts_with("ssh://") ||
      text.starts_with("github.com/") || (is_web && path.ends_with(".git")))
    return Error{Code::kNotSupported, "building from a repository is not supported: clone " +
                                          shown + " and send the build context with the request"};
  if (!is_web)
    return Error{Code::kInvalidArgument,
                 "remoteURL (" + shown + ") could not be recognized as URL"};
  return registry::Url::parse(text);
}

}  // namespace engine::build
