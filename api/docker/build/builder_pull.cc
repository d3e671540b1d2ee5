// Builder: images and files that a build needs and this host has not.
#include <boost/asio/post.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/build/builder.h"
#include "api/docker/images/image_routes.h"
#include "images/registry/registries.h"
#include "images/store/streams/digest.h"

namespace docker::build {

using base::Code;
using base::Error;
using base::Result;
using images::Reference;
using nlohmann::json;

namespace {

/// Takes what the registry's threads tell to the io_context thread.
class Teller final : public registry::TransferObserver {
 public:
  Teller(net::any_io_executor executor, std::shared_ptr<BuildOutput> output)
      : executor_(std::move(executor)), output_(std::move(output)) {}

  void message(std::string_view id, std::string_view text) override {
    json object{{"status", text}};
    if (!id.empty()) object["id"] = id;
    post(std::move(object));
  }
  void update(std::string_view id, std::string_view action, std::uint64_t current,
              std::uint64_t total) override {
    json detail = json::object();
    if (total != 0) detail = {{"current", current}, {"total", total}};
    json object{{"status", action}, {"progressDetail", std::move(detail)}};
    if (!id.empty()) object["id"] = id;
    post(std::move(object));
  }
  void pushed(std::string_view, std::string_view, std::uint64_t) override {}

 private:
  void post(json object) {
    net::post(executor_,
              [output = output_, object = std::move(object)] { output->status(object); });
  }

  const net::any_io_executor executor_;
  const std::shared_ptr<BuildOutput> output_;
};

/// Where a file of ADD is downloaded to.
struct Download {
  registry::Url url;
  std::string directory;
  std::string unnamed;  // what a file is called that the web has no name for; "": that is wrong
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

Result<CopySource> fetch(registry::Registries& web, const Download& wanted, Teller& teller,
                         std::stop_token stop) {
  auto spool = spool_file(wanted.directory);
  if (!spool) return std::move(spool).error();
  const auto file = std::make_shared<base::UniqueFd>(*std::move(spool));
  images::FdSink sink(file->get());
  // Not each piece of it: a client that reads slowly would have them all in memory.
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
  TreeNode node;
  node.entry.path = fetched->name;
  node.entry.mode = 0600;
  node.entry.size = fetched->bytes;
  node.entry.modified_ns = fetched->modified * 1'000'000'000;
  auto sum = sum_of(node, file->get());
  if (!sum) return std::move(sum).error();
  node.sum = *std::move(sum);
  CopySource source{.tree = nullptr, .path = fetched->name, .hash = node.sum};
  source.downloaded = true;
  FileTree tree(file);
  RETURN_IF_ERROR(tree.add(std::move(node)));
  source.tree = std::make_shared<const FileTree>(std::move(tree));
  return source;
}

}  // namespace

net::awaitable<Result<CopySource>> Builder::download(std::string url, std::string destination) {
  auto parsed = registry::Url::parse(url);
  if (!parsed) co_return std::move(parsed).error();
  const Download wanted{.url = *std::move(parsed),
                        .directory = api_.host.state_directory,
                        .unnamed = destination.ends_with('/') ? "" : "__unnamed__"};
  const auto teller = std::make_shared<Teller>(api_.executor, output_);
  const std::function<Result<CopySource>()> call = [&registries = api_.registries, wanted, teller,
                                                    stop = stop_.get_token()] {
    return fetch(registries, wanted, *teller, stop);
  };
  auto fetched = co_await api_.threads.transfers.run(call);
  if (cancelled_) co_return cancelled_error();
  if (fetched) output_->stream("\n");
  co_return fetched;
}

net::awaitable<Result<images::Image>> Builder::find_base(std::string name) {
  if (!options_.pull) {
    auto image = co_await resolve(name);
    if (image || image.error().code != Code::kNotFound) co_return image;
  }
  const auto reference = Reference::parse(name);
  if (!reference) co_return reference.error();
  const auto pulled = co_await pull(reference->with_default_tag());
  if (!pulled) co_return pulled.error();
  co_return co_await resolve(std::move(name));
}

net::awaitable<Result<void>> Builder::pull(Reference reference) {
  registry::PullRequest request{
      .reference = reference,
      .platform = std::nullopt,
      .credentials = registry::credentials_for(options_.credentials, reference.domain())};
  const auto teller = std::make_shared<Teller>(api_.executor, output_);
  const std::function<Result<void>()> call = [&registries = api_.registries, teller, request,
                                              stop = stop_.get_token()] {
    return registries.pull(request, *teller, stop);
  };
  auto pulled = co_await api_.threads.transfers.run(call);
  if (cancelled_) co_return cancelled_error();
  if (pulled)
    publish_image_event(api_, "pull", reference.familiar(), reference.familiar_repository());
  co_return pulled;
}

}  // namespace docker::build
