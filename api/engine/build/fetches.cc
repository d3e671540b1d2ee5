#include "api/engine/build/fetches.h"

#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "api/engine/images/image_events.h"
#include "images/store/streams/digest.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using images::Reference;

namespace {

/// Hands on what the registry's threads tell, to be told on the io_context thread.
class Teller final : public registry::TransferObserver {
 public:
  explicit Teller(const Session& session)
      : executor_(session.parts.executor), listener_(session.listener) {}

  void message(std::string_view id, std::string_view text) override {
    post(TransferMessage{.id = std::string(id), .text = std::string(text)});
  }
  void update(std::string_view id, std::string_view action, std::uint64_t current,
              std::uint64_t total) override {
    post(TransferProgress{
        .id = std::string(id), .action = std::string(action), .current = current, .total = total});
  }
  void pushed(std::string_view, std::string_view, std::uint64_t) override {}

 private:
  void post(BuildEvent event) {
    net::post(executor_,
              [listener = listener_, event = std::move(event)] { listener->tell(event); });
  }

  const net::any_io_executor executor_;
  const std::shared_ptr<BuildListener> listener_;
};

/// Where a file of ADD is downloaded to.
struct Download {
  registry::Url url;
  std::string directory;
  std::string unnamed;  // the name of a file whose URL gives none; "": that is an error
};

Result<std::string> sum_of(const TreeNode& node, int file) {
  images::Sha256 hash;
  const std::string header = summed_header(node.entry, raw_of(node.entry), node.entry.path);
  hash.update(std::as_bytes(std::span(header)));
  images::RangeSource contents(file, 0, node.entry.size);
  std::vector<std::byte> buffer(64u << 10);
  for (;;) {
    const auto got = contents.read(buffer);
    if (!got) return got.error();
    if (*got == 0) return images::to_digest_string(hash.finish()).substr(7);
    hash.update(std::span(buffer).first(*got));
  }
}

/// A tree of the one file that was fetched.
Result<CopySource> source_of(std::shared_ptr<base::UniqueFd> file,
                             const registry::WebFile& fetched) {
  TreeNode node;
  node.entry.path = fetched.name;
  node.entry.mode = 0600;
  node.entry.size = fetched.bytes;
  node.entry.modified_ns = fetched.modified * 1'000'000'000;
  auto sum = sum_of(node, file->get());
  if (!sum) return std::move(sum).error();
  node.sum = *std::move(sum);
  CopySource source{.tree = nullptr, .path = fetched.name, .hash = node.sum};
  source.downloaded = true;
  FileTree tree(file);
  RETURN_IF_ERROR(tree.add(std::move(node)));
  source.tree = std::make_shared<const FileTree>(std::move(tree));
  return source;
}

Result<CopySource> fetch(registry::Registries& web, const Download& wanted, Teller& teller,
                         std::stop_token stop) {
  auto spool = spool_file(wanted.directory);
  if (!spool) return std::move(spool).error();
  auto file = std::make_shared<base::UniqueFd>(*std::move(spool));
  images::FdSink sink(file->get());
  // Not every piece is told: for a client that reads slowly all of it would be in memory.
  std::uint64_t told = 0;
  const registry::WebProgress progress = [&](std::uint64_t current, std::uint64_t total) {
    constexpr std::uint64_t kStep = 1u << 20;
    if (current != total && current < told + kStep) return;
    told = current;
    teller.update("", "Downloading", current, total);
  };
  auto fetched = web.fetch_file(wanted.url, sink, progress, std::move(stop));
  if (!fetched) return std::move(fetched).error();
  if (fetched->name.empty()) fetched->name = wanted.unnamed;
  if (fetched->name.empty())
    return Error{Code::kInvalidArgument,
                 "cannot determine filename for source " + wanted.url.text()};
  return source_of(std::move(file), *fetched);
}

}  // namespace

net::awaitable<Result<CopySource>> Fetches::download(std::string url, std::string destination) {
  auto parsed = registry::Url::parse(url);
  if (!parsed) co_return std::move(parsed).error();
  const Download wanted{.url = *std::move(parsed),
                        .directory = session_.parts.spool_directory,
                        .unnamed = destination.ends_with('/') ? "" : "__unnamed__"};
  const auto teller = std::make_shared<Teller>(session_);
  const std::function<Result<CopySource>()> call = [&registries = session_.parts.registries, wanted,
                                                    teller, stop = session_.stop] {
    return fetch(registries, wanted, *teller, stop);
  };
  auto fetched = co_await session_.parts.transfers.run(call);
  if (session_.cancelled()) co_return cancelled_error();
  if (fetched) session_.tell(DownloadEnded{});
  co_return fetched;
}

net::awaitable<Result<images::Image>> Fetches::find_base(std::string name) {
  if (!session_.options.pull) {
    auto image = co_await resolve_image(session_, name);
    if (image || image.error().code != Code::kNotFound) co_return image;
  }
  const auto reference = Reference::parse(name);
  if (!reference) co_return reference.error();
  const auto pulled = co_await pull(reference->with_default_tag());
  if (!pulled) co_return pulled.error();
  co_return co_await resolve_image(session_, std::move(name));
}

net::awaitable<Result<void>> Fetches::pull(Reference reference) {
  registry::PullRequest request{
      .reference = reference,
      .platform = std::nullopt,
      .credentials = registry::credentials_for(session_.options.credentials, reference.domain())};
  const auto teller = std::make_shared<Teller>(session_);
  const std::function<Result<void>()> call = [&registries = session_.parts.registries, teller,
                                              request, stop = session_.stop] {
    return registries.pull(request, *teller, stop);
  };
  auto pulled = co_await session_.parts.transfers.run(call);
  if (session_.cancelled()) co_return cancelled_error();
  if (pulled)
    publish_image_event(session_.parts.events, "pull", reference.familiar(),
                        reference.familiar_repository());
  co_return pulled;
}

}  // namespace engine::build
