// Builder: COPY and ADD.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read.hpp>
#include <charconv>

#include "api/docker/build/builder.h"
#include "api/docker/files/byte_bridge.h"
#include "api/docker/images/layer_commit.h"
#include "api/engine/containers/container_files.h"
#include "images/dockerfile/patterns.h"
#include "images/dockerfile/text.h"
#include "images/store/streams/digest.h"

namespace docker::build {

using async::BytePipe;
using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;
using engine::ContainerPtr;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace files = protocol::files;

namespace {

std::string keyword(const Instruction& instruction) {
  return instruction.kind == Kind::kAdd ? "ADD" : "COPY";
}

bool is_url(std::string_view name) {
  return name.starts_with("http://") || name.starts_with("https://");
}

/// Relative to the working directory; a slash at the end stays.
std::string absolute(const std::string& working_directory, const std::string& destination) {
  if (destination.starts_with('/')) return destination;
  std::string path = dockerfile::clean_path("/" + working_directory + "/" + destination);
  if (destination.ends_with('/') && path != "/") path += "/";
  return path;
}

/// Of "user" the group has the same name.
std::string owner_of(const std::string& flag) {
  if (flag.empty()) return "0:0";
  return flag.find(':') == std::string::npos ? flag + ":" + flag : flag;
}

/// Of --chmod: octal, as BuildKit has it. dockerd's classic builder refuses the option.
Result<std::optional<std::uint32_t>> mode_of(const std::string& flag) {
  if (flag.empty()) return std::optional<std::uint32_t>();
  std::uint32_t mode = 0;
  const auto [end, error] = std::from_chars(flag.data(), flag.data() + flag.size(), mode, 8);
  if (error != std::errc() || end != flag.data() + flag.size() || mode > 07777)
    return Error{Code::kInvalidArgument,
                 "invalid chmod parameter: '" + flag.substr(0, 64) +
                     "'. it should be octal string and between 0 and 07777"};
  // They would be lost when the owner is set, which comes last.
  if (mode > 0777)
    return Error{Code::kNotSupported,
                 "chmod parameter '" + flag.substr(0, 64) +
                     "': the set-user-ID, set-group-ID and sticky bits are not supported"};
  return std::optional(mode);
}

net::awaitable<void> send(Api& api, async::BlockingPool& pool, std::shared_ptr<const CopyPlan> plan,
                          std::shared_ptr<base::UniqueFd> out,
                          std::shared_ptr<Result<void>> result) {
  const std::function<Result<void>()> call = [&store = api.images, plan, out] {
    BridgeSink sink(out->get());
    auto sent = send_copy(store, *plan, sink);
    out->reset();
    return sent;
  };
  *result = co_await pool.run(call);
}

net::awaitable<void> take_layer(Api& api, std::shared_ptr<BytePipe> output,
                                images::CommitOptions options, std::stop_token stop,
                                std::shared_ptr<Result<images::LoadedImage>> made) {
  auto frames = std::make_unique<ToolFrames>(std::move(output));
  *made = co_await commit_layer(api, std::move(frames), std::move(options), ContainerPtr(),
                                std::move(stop));
}

/// Files that a guest sends become a tree over a spool file.
class TreeReader {
 public:
  explicit TreeReader(std::shared_ptr<base::UniqueFd> file) : file_(file), tree_(file) {}

  /// An Entry or Data frame; `prefix` is where the tree's entries lie in the image.
  Result<void> take(const wire::RawFrame& frame, const std::string& prefix) {
    if (static_cast<files::FrameType>(frame.type) == files::FrameType::kEntry) {
      RETURN_IF_ERROR(finish());
      const auto entry = wire::decode<files::Entry>(frame.payload);
      if (!entry) return entry.error();
      node_ = TreeNode{};
      node_->entry = *entry;
      node_->entry.path = dockerfile::clean_path(prefix + "/" + entry->path).substr(1);
      if (entry->kind == files::EntryKind::kHardLink)
        node_->entry.link = dockerfile::clean_path(prefix + "/" + entry->link).substr(1);
      node_->offset = written_;
      missing_ = entry->kind == files::EntryKind::kFile ? entry->size : 0;
      const bool directory = entry->kind == files::EntryKind::kDirectory;
      const std::string header = summed_header(node_->entry, raw_of(node_->entry),
                                               node_->entry.path + (directory ? "/" : ""));
      hash_ = images::Sha256();
      hash_.update(std::as_bytes(std::span(header)));
      return {};
    }
    const auto data = wire::decode<files::Data>(frame.payload);
    if (!data || data->bytes.size() > missing_)
      return Error{Code::kDataLoss, "the guest sends files in a wrong way"};
    if (written_ + data->bytes.size() > kMostBytes)
      return Error{Code::kResourceExhausted, "the files to copy are larger than the limit"};
    missing_ -= data->bytes.size();
    written_ += data->bytes.size();
    hash_.update(data->bytes);
    return images::FdSink(file_->get()).write(data->bytes);
  }

  Result<void> finish() {
    if (!node_) return {};
    if (missing_ > 0) return Error{Code::kDataLoss, "the guest sends files in a wrong way"};
    node_->sum = images::to_digest_string(hash_.finish()).substr(7);
    TreeNode node = *std::exchange(node_, std::nullopt);
    return tree_.add(std::move(node));
  }

  FileTree tree() && { return std::move(tree_); }

 private:
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 30;

  std::shared_ptr<base::UniqueFd> file_;
  FileTree tree_;
  std::optional<TreeNode> node_;
  images::Sha256 hash_;
  std::uint64_t missing_ = 0;
  std::uint64_t written_ = 0;
};

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

/// What `path`, absolute, is in an image: a tree in which it lies where it lies there.
net::awaitable<Result<TreePtr>> Builder::read_tree(std::string image, std::string path) {
  auto settings = engine::parse_settings({{"Image", image}, {"Cmd", {"true"}}});
  if (!settings) co_return std::move(settings).error();
  engine::CreateRequest request{
      .name = {}, .settings = *std::move(settings), .of_build = true, .files_only = true};
  const auto container = co_await api_.containers.create(std::move(request));
  if (!container) co_return container.error();
  auto spool = spool_file(api_.host.state_directory);
  Result<void> done = spool ? Result<void>() : Result<void>(spool.error());
  const auto file = std::make_shared<base::UniqueFd>(spool ? *std::move(spool) : base::UniqueFd());
  TreeReader reader(file);
  if (done) {
    ToolFrames frames(start_reading(api_.containers.files(), *container, {"read", path}));
    const std::stop_callback ending(stop_.get_token(), [pipe = frames.pipe()] { pipe->close(); });
    const std::string prefix = "/" + parent_of(path);
    for (bool more = true; done && more;) {
      const auto frame = co_await frames.next();
      if (!frame) {
        done = frame.error();
        break;
      }
      const auto type = static_cast<files::FrameType>(frame->type);
      more = type != files::FrameType::kEnd;
      if (type == files::FrameType::kEntry || type == files::FrameType::kData) {
        done = reader.take(*frame, path == "/" ? "/" : prefix);
      } else if (type == files::FrameType::kFailed) {
        const auto failed = wire::decode<files::Failed>(frame->payload);
        // A file that is not there is told in the builder's own words.
        if (failed && failed->kind == files::FailureKind::kNotFound) break;
        done = tool_error(*frame);
      }
    }
  }
  if (done) done = reader.finish();
  const auto removed =
      co_await api_.containers.remove(*container, {.force = true, .volumes = true});
  if (!done) co_return std::move(done).error();
  if (!removed) co_return removed.error();
  co_return std::make_shared<const FileTree>(std::move(reader).tree());
}

/// The tree in which `name` is looked for.
net::awaitable<Result<TreePtr>> Builder::tree_of(std::string from, std::string name) {
  if (from.empty()) {
    if (!context_) co_return Error{Code::kInvalidArgument, "missing build context"};
    co_return context_;
  }
  std::string image;
  const auto stage = finished_stage(from, /*by_number=*/true);
  if (!stage) co_return stage.error();
  if (*stage != nullptr) {
    image = (*stage)->image_id;
    if (image.empty()) co_return std::make_shared<const FileTree>(nullptr);
  } else {
    const auto found = co_await find_base(from);
    if (!found) co_return base::annotate(found.error(), "invalid from flag value " + from);
    image = found->id;
  }
  // With wildcards: the directory in front of the first of them.
  std::string path = dockerfile::clean_path("/" + name);
  while (dockerfile::has_wildcards(path)) path = "/" + parent_of(path);
  path = dockerfile::clean_path(path);
  auto tree = co_await read_tree(image, path);
  // A link leads elsewhere: then all of the image is looked at.
  if (tree) {
    const auto real = (*tree)->resolve(path.substr(1));
    if (!real || (!real->empty() && (*tree)->find(*real) == nullptr))
      tree = co_await read_tree(image, "/");
  }
  co_return tree;
}

net::awaitable<Result<std::vector<CopySource>>> Builder::sources_of(
    const Instruction& instruction) {
  std::vector<CopySource> all;
  const std::string from = instruction.flag("from");
  const auto failed = [&](Error error) {
    return Error{error.code, keyword(instruction) + " failed: " + error.message};
  };
  for (std::size_t i = 0; i + 1 < instruction.arguments.size(); ++i) {
    const std::string& name = instruction.arguments[i];
    if (is_url(name)) {
      if (instruction.kind != Kind::kAdd)
        co_return failed({Code::kInvalidArgument, "source can't be a URL for COPY"});
      auto file = co_await download(name, instruction.arguments.back());
      if (!file) co_return failed(std::move(file).error());
      all.push_back(*std::move(file));
      continue;
    }
    const auto tree = co_await tree_of(from, name);
    if (!tree) co_return tree.error();
    const std::function<Result<std::vector<CopySource>>()> call = [tree = *tree, name, from] {
      return find_sources(tree, name, !from.empty());
    };
    auto found = co_await api_.threads.pool.run(call);
    if (!found) co_return failed(std::move(found).error());
    for (CopySource& source : *found) all.push_back(std::move(source));
  }
  if (all.empty()) co_return failed({Code::kInvalidArgument, "no source files were specified"});
  co_return all;
}

Builder::Step Builder::commit_copy(ContainerPtr container, CopyPlan plan,
                                   images::CommitOptions options) {
  const net::any_io_executor executor = api_.executor;
  auto bridge = ByteBridge::make(executor);
  if (!bridge) co_return bridge.error();
  const auto input = std::make_shared<BytePipe>(executor);
  const auto output = std::make_shared<BytePipe>(executor);
  engine::FilesTask task{
      .command = {"build"}, .changes_files = false, .output = output, .input = input};
  api_.containers.files().start(container, std::move(task));

  const std::stop_callback ending(stop_.get_token(), [input] { input->close(); });
  const auto shared_plan = std::make_shared<CopyPlan>(std::move(plan));
  shared_plan->stop = stop_.get_token();
  // An empty directory is a place without entries.
  const bool only_directory = shared_plan->sources.empty();
  if (only_directory)
    shared_plan->sources.push_back(
        {.tree = std::make_shared<const FileTree>(std::make_shared<base::UniqueFd>()),
         .path = "",
         .hash = ""});
  const auto out = std::make_shared<base::UniqueFd>(std::move(bridge->blocking_side));
  const auto sent = std::make_shared<Result<void>>();
  const auto made = std::make_shared<Result<images::LoadedImage>>(
      Error{Code::kUnavailable, "the build was interrupted"});
  co_await (send(api_, copying_, shared_plan, out, sent) &&
            pump_frames(std::move(bridge->coroutine_side), input) &&
            take_layer(api_, output, std::move(options), stop_.get_token(), made));
  if (!*made) co_return made->error();
  if (!*sent) co_return sent->error();
  state_.image_id = (*made)->id;
  co_return Result<void>();
}

Builder::Step Builder::copy(const Instruction& instruction) {
  const std::string permissions = instruction.flag("chmod");
  const auto mode = mode_of(permissions);
  if (!mode) co_return mode.error();
  const auto found = co_await sources_of(instruction);
  if (!found) co_return found.error();
  const std::string& destination = instruction.arguments.back();
  if (found->size() > 1 && !destination.ends_with('/'))
    co_return Error{Code::kInvalidArgument,
                    "When using " + keyword(instruction) +
                        " with more than one source file, the destination must be a directory and "
                        "end with a /"};
  const std::string owner = instruction.flag("chown");
  const std::string said = "#(nop) " + keyword(instruction) + " " +
                           (permissions.empty() ? "" : "--chmod=" + permissions + " ") +
                           (owner.empty() ? "" : "--chown=" + owner + " ") +
                           hash_of_sources(*found) + " in " + destination + " ";
  const json config = with_comment({said});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  json body{{"Cmd", {"true"}}};
  const auto container = co_await make_container(std::move(body), /*files_only=*/true);
  if (!container) co_return container.error();
  intermediates_.back().id.clear();  // dockerd has none: it is not told of
  const bool keeps_owners = !instruction.flag("from").empty() && owner.empty();
  CopyPlan plan{.sources = *found,
                .destination = absolute(state_.config.value("WorkingDir", ""), destination),
                .owner = keeps_owners ? "" : owner_of(owner),
                .mode = *mode,
                .extracts = instruction.kind == Kind::kAdd,
                .spool_directory = api_.host.state_directory};
  auto done = co_await commit_copy(*container, std::move(plan), commit_options(config, ""));
  // Whose files they become is looked up before anything is copied.
  if (done || done.error().message.starts_with(files::kUnknownOwner)) co_return done;
  co_return base::annotate(std::move(done), "failed to copy files");
}

}  // namespace docker::build
