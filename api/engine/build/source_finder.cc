#include "api/engine/build/source_finder.h"

#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <utility>

#include "api/engine/build/sources/tree_reader.h"
#include "api/engine/files/tool_error.h"
#include "api/engine/files/tool_frames.h"
#include "api/engine/settings/settings.h"
#include "images/dockerfile/patterns.h"
#include "images/dockerfile/text.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;

namespace files = protocol::files;

namespace {

bool is_url(std::string_view name) {
  return name.starts_with("http://") || name.starts_with("https://");
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "" : path.substr(0, slash);
}

Error failed(const Instruction& instruction, Error error) {
  return Error{error.code, keyword(instruction) + " failed: " + error.message};
}

}  // namespace

std::string keyword(const Instruction& instruction) {
  return instruction.kind == Kind::kAdd ? "ADD" : "COPY";
}

/// What `path`, absolute, is in a container's files: a tree in which it lies where it lies there.
net::awaitable<Result<TreePtr>> SourceFinder::read_files(ContainerPtr container, std::string path) {
  auto spool = spool_file(session_.parts.spool_directory);
  if (!spool) co_return std::move(spool).error();
  TreeReader reader(std::make_shared<base::UniqueFd>(*std::move(spool)),
                    path == "/" ? "/" : "/" + parent_of(path));
  ToolFrames frames(session_.parts.containers.files().start_reading(container, {"read", path}));
  const std::stop_callback ending(session_.stop, [pipe = frames.pipe()] { pipe->close(); });
  for (;;) {
    const auto frame = co_await frames.next();
    if (!frame) co_return frame.error();
    const auto type = static_cast<files::FrameType>(frame->type);
    if (type == files::FrameType::kEnd) break;
    if (type == files::FrameType::kEntry || type == files::FrameType::kData) {
      const auto taken = reader.take(*frame);
      if (!taken) co_return taken.error();
    } else if (type == files::FrameType::kFailed) {
      const auto failure = wire::decode<files::Failed>(frame->payload);
      // A file that is not there is told in the builder's own words.
      if (failure && failure->kind == files::FailureKind::kNotFound) break;
      co_return tool_error(*frame);
    }
  }
  const auto finished = reader.finish();
  if (!finished) co_return finished.error();
  co_return std::make_shared<const FileTree>(std::move(reader).tree());
}

net::awaitable<Result<TreePtr>> SourceFinder::read_tree(std::string image, std::string path) {
  auto settings = parse_settings({{"Image", image}, {"Cmd", {"true"}}});
  if (!settings) co_return std::move(settings).error();
  CreateRequest request{
      .name = {}, .settings = *std::move(settings), .of_build = true, .files_only = true};
  const auto container = co_await session_.parts.containers.create(std::move(request));
  if (!container) co_return container.error();
  auto tree = co_await read_files(*container, std::move(path));
  const auto removed =
      co_await session_.parts.containers.remove(*container, {.force = true, .volumes = true});
  if (tree && !removed) co_return removed.error();
  co_return tree;
}

net::awaitable<Result<TreePtr>> SourceFinder::tree_in_image(std::string image, std::string name) {
  // If there are wildcards, the directory in front of the first of them is read.
  std::string path = dockerfile::clean_path("/" + name);
  while (dockerfile::has_wildcards(path)) path = "/" + parent_of(path);
  path = dockerfile::clean_path(path);
  auto tree = co_await read_tree(image, path);
  // If a link leads elsewhere the whole image is read.
  if (tree) {
    const auto real = (*tree)->resolve(path.substr(1));
    if (!real || (!real->empty() && (*tree)->find(*real) == nullptr))
      tree = co_await read_tree(image, "/");
  }
  co_return tree;
}

/// The tree in which `name` is looked for.
net::awaitable<Result<TreePtr>> SourceFinder::tree_of(std::string from, std::string name) {
  if (from.empty()) {
    if (!context_) co_return Error{Code::kInvalidArgument, "missing build context"};
    co_return context_;
  }
  std::string image;
  const auto stage = stages_.find(from, /*by_number=*/true);
  if (!stage) co_return stage.error();
  if (*stage != nullptr) {
    image = (*stage)->image_id;
    if (image.empty()) co_return std::make_shared<const FileTree>(nullptr);
  } else {
    const auto found = co_await fetches_.find_base(from);
    if (!found) co_return base::annotate(found.error(), "invalid from flag value " + from);
    image = found->id;
  }
  co_return co_await tree_in_image(std::move(image), std::move(name));
}

net::awaitable<Result<std::vector<CopySource>>> SourceFinder::find_in(TreePtr tree,
                                                                      std::string name,
                                                                      bool from_image) {
  const std::function<Result<std::vector<CopySource>>()> call = [tree, name, from_image] {
    return find_sources(tree, name, from_image);
  };
  co_return co_await session_.parts.pool.run(call);
}

net::awaitable<Result<std::vector<CopySource>>> SourceFinder::sources_of(Instruction instruction) {
  std::vector<CopySource> all;
  const std::string from = instruction.flag("from");
  for (std::size_t i = 0; i + 1 < instruction.arguments.size(); ++i) {
    const std::string& name = instruction.arguments[i];
    if (is_url(name)) {
      if (instruction.kind != Kind::kAdd)
        co_return failed(instruction, {Code::kInvalidArgument, "source can't be a URL for COPY"});
      auto file = co_await fetches_.download(name, instruction.arguments.back());
      if (!file) co_return failed(instruction, std::move(file).error());
      all.push_back(*std::move(file));
      continue;
    }
    const auto tree = co_await tree_of(from, name);
    if (!tree) co_return tree.error();
    auto found = co_await find_in(*tree, name, !from.empty());
    if (!found) co_return failed(instruction, std::move(found).error());
    for (CopySource& source : *found) all.push_back(std::move(source));
  }
  if (all.empty())
    co_return failed(instruction, {Code::kInvalidArgument, "no source files were specified"});
  co_return all;
}

}  // namespace engine::build
