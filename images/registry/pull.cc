// Registries::pull: manifest -> configuration -> layers, several at once -> the image, all at once.

#include <algorithm>
#include <set>

#include "images/registry/registries.h"
#include "images/store/values/image_config.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;
using images::Reference;

namespace {

/// What Docker says of an image that the registry does not have, or does not show.
Error pull_error(const Error& error, const Reference& reference) {
  const std::string& text = error.message;
  if (text.starts_with("denied:"))
    return {Code::kNotFound,
            "pull access denied for " + reference.familiar_repository() +
                ", repository does not exist or may require 'docker login': " + text};
  if (text.starts_with("manifest unknown:"))
    return {Code::kNotFound, "manifest for " + reference.familiar() + " not found: " + text};
  if (text.starts_with("name unknown:"))
    return {Code::kNotFound,
            "repository " + reference.familiar_repository() + " not found: " + text};
  return error;
}

/// A registry that is away, or refuses, is no fault of the client's.
Error as_internal(Error error) {
  if (error.code == Code::kUnavailable || error.code == Code::kDeadlineExceeded ||
      error.code == Code::kPermissionDenied || error.code == Code::kDataLoss)
    error.code = Code::kInternal;
  return error;
}

std::string shown_name(const Reference& reference) {
  return reference.digest().empty() ? reference.tag()
                                    : reference.repository() + "@" + reference.digest();
}

}  // namespace

/// One tag or digest, from the manifest to the image.
class Registries::PullOfOne {
 public:
  PullOfOne(Registries& registries, const PullRequest& request, const Reference& reference,
            TransferObserver& observer, const StopSignal& stop)
      : registries_(registries),
        reference_(reference),
        platform_(request.platform.value_or(Platform::host())),
        observer_(observer),
        stop_(stop) {}

  /// Whether anything is different from before.
  Result<bool> run(RepositoryPtr repository, const Document& top) {
    repository_ = std::move(repository);
    auto kind = kind_of(top.media_type, top.bytes, reference_.familiar());
    if (!kind) return std::move(kind).error();
    observer_.message(shown_name(reference_), "Pulling from " + reference_.path());
    std::vector<std::string> digests{top.digest};
    auto manifest = image_manifest(top, *kind, digests);
    if (!manifest) return std::move(manifest).error();
    auto origin = admit(std::move(digests));
    if (!origin) return std::move(origin).error();
    const auto before = registries_.store_.resolve(reference_.familiar());
    auto arrival = registries_.store_.begin_arrival();
    if (!arrival) return std::move(arrival).error();
    auto config_json = configuration(*manifest);
    if (!config_json) return std::move(config_json).error();
    RETURN_IF_ERROR(fetch_layers(*manifest, *config_json, **arrival));

    images::ArrivedImage image{.config_json = *std::move(config_json),
                               .blobs = {},
                               .repository = reference_.repository(),
                               .names = {reference_.with_digest(top.digest)},
                               .origin = *std::move(origin)};
    for (const Descriptor& layer : manifest->layers)
      image.blobs.push_back({layer.digest, layer.size, layer.media_type});
    if (reference_.digest().empty()) image.names.push_back(reference_);
    if (stop_.requested()) return stopped_error();
    auto id = (*arrival)->commit(image);
    if (!id) return std::move(id).error();
    observer_.message("", "Digest: " + top.digest);
    return !before || before->id != *id;
  }

 private:
  /// Adds the digest of what was found in an index to the front of `digests`.
  Result<ImageManifest> image_manifest(const Document& top, ManifestKind kind,
                                       std::vector<std::string>& digests) {
    if (kind == ManifestKind::kImage) return parse_image_manifest(top.bytes);
    auto entries = parse_index(top.bytes);
    if (!entries) return std::move(entries).error();
    auto chosen = choose_platform(*entries, platform_);
    if (!chosen) return std::move(chosen).error();
    auto document = repository_->manifest(chosen->digest, stop_);
    if (!document) return std::move(document).error();
    if (document->bytes.size() != chosen->size)
      return Error{Code::kDataLoss,
                   "manifest " + chosen->digest + " has another size than the " + "list says"};
    auto inner = kind_of(document->media_type, document->bytes, reference_.familiar());
    if (!inner) return std::move(inner).error();
    if (*inner != ManifestKind::kImage)
      return Error{Code::kNotSupported, "manifest lists in manifest lists are not supported"};
    digests.insert(digests.begin(), document->digest);
    return parse_image_manifest(document->bytes);
  }

  Result<images::Origin> admit(std::vector<std::string> digests) {
    if (registries_.options_.admit)
      return registries_.options_.admit(reference_, std::move(digests), *repository_, stop_);
    return images::Origin{.transport = std::string(images::kRegistryTransport),
                          .reference = images::full_name(reference_),
                          .manifest_digests = std::move(digests),
                          .signatures = {}};
  }

  Result<std::string> configuration(const ImageManifest& manifest) {
    if (const auto known = registries_.store_.resolve(manifest.config.digest))
      return known->config_json;
    return repository_->blob(manifest.config, stop_);
  }

  Result<void> fetch_layers(const ImageManifest& manifest, const std::string& config_json,
                            images::Arrival& arrival) {
    auto config = images::parse_image_config(config_json);
    if (!config) return std::move(config).error();
    RETURN_IF_ERROR(images::check_platform(config->os, config->architecture));
    if (config->diff_ids.size() != manifest.layers.size())
      return Error{Code::kInvalidArgument,
                   "invalid manifest: " + std::to_string(manifest.layers.size()) +
                       " layers, but its configuration has " +
                       std::to_string(config->diff_ids.size())};
    const bool known = registries_.store_.resolve(manifest.config.digest).has_value();
    struct Wanted {
      const Descriptor* layer;
      const std::string* diff_id;
    };
    std::vector<Wanted> wanted;
    std::set<std::string> seen;
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      if (!seen.insert(config->diff_ids[i]).second) continue;
      auto there = arrival.has_layer(config->diff_ids[i]);
      if (!there) return std::move(there).error();
      const std::string id = short_digest(manifest.layers[i].digest);
      if (!*there) wanted.push_back({&manifest.layers[i], &config->diff_ids[i]});
      if (!known) observer_.update(id, *there ? "Already exists" : "Pulling fs layer", 0, 0);
    }
    // All begin before any is waited for; they go down together if one fails.
    std::vector<LayerDownloads::Ticket> tickets;
    tickets.reserve(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (i >= kDownloads) observer_.update(short_digest(wanted[i].layer->digest), "Waiting", 0, 0);
      tickets.push_back(begin(*wanted[i].layer, *wanted[i].diff_id));
    }
    for (std::size_t i = 0; i < wanted.size(); ++i)
      RETURN_IF_ERROR(finish(std::move(tickets[i]), *wanted[i].layer, *wanted[i].diff_id, arrival));
    return {};
  }

  Result<void> finish(LayerDownloads::Ticket ticket, const Descriptor& layer,
                      const std::string& diff_id, images::Arrival& arrival) {
    auto done = ticket.wait(arrival, stop_.token());
    if (done || ticket.began() || stop_.requested()) return done;
    // The download was another pull's, from its registry. This pull's may have the layer.
    return begin(layer, diff_id).wait(arrival, stop_.token());
  }

  LayerDownloads::Ticket begin(const Descriptor& layer, const std::string& diff_id) {
    return registries_.downloads_.fetch(repository_, layer, diff_id,
                                        [this, id = short_digest(layer.digest)](
                                            const LayerProgress& progress) { tell(id, progress); });
  }

  void tell(const std::string& id, const LayerProgress& progress) {
    using Stage = LayerProgress::Stage;
    switch (progress.stage) {
      case Stage::kWaiting:
        return;
      case Stage::kDownloading:
        return observer_.update(id, "Downloading", progress.current, progress.total);
      case Stage::kVerifying:
        return observer_.update(id, "Verifying Checksum", 0, 0);
      case Stage::kDownloaded:
        return observer_.update(id, "Download complete", 0, 0);
      case Stage::kExtracting:
        return observer_.update(id, "Extracting", progress.current, progress.total);
      case Stage::kDone:
        return observer_.update(id, "Pull complete", 0, 0);
    }
  }

  Registries& registries_;
  const Reference reference_;
  const Platform platform_;
  TransferObserver& observer_;
  const StopSignal& stop_;
  RepositoryPtr repository_;
};

Result<void> Registries::pull_tag(const PullRequest& request, const Reference& reference,
                                  bool& newer, TransferObserver& observer, const StopSignal& stop) {
  std::optional<Document> document;
  auto repository = connect(
      reference, request.credentials, false,
      [&](Repository& from) -> Result<void> {
        const std::string name = reference.digest().empty() ? reference.tag() : reference.digest();
        auto read = from.manifest(name, stop);
        if (!read) return std::move(read).error();
        document = *std::move(read);
        return {};
      },
      stop);
  if (!repository) return std::move(repository).error();
  auto changed =
      PullOfOne(*this, request, reference, observer, stop).run(*std::move(repository), *document);
  if (!changed) return std::move(changed).error();
  newer = newer || *changed;
  return {};
}

Result<void> Registries::pull(const PullRequest& request, TransferObserver& observer,
                              std::stop_token token) {
  const StopSignal stop(std::move(token));
  const Reference& reference = request.reference;
  std::vector<Reference> wanted{reference};
  if (reference.tag().empty() && reference.digest().empty()) {
    std::vector<std::string> tags;
    auto repository = connect(
        reference, request.credentials, false,
        [&](Repository& from) -> Result<void> {
          auto read = from.tags(stop);
          if (!read) return std::move(read).error();
          tags = *std::move(read);
          return {};
        },
        stop);
    if (!repository) return as_internal(pull_error(repository.error(), reference));
    wanted.clear();
    for (std::string& tag : tags) wanted.push_back(reference.with_tag(std::move(tag)));
  }
  bool newer = false;
  for (const Reference& one : wanted)
    if (auto pulled = pull_tag(request, one, newer, observer, stop); !pulled)
      return as_internal(pull_error(pulled.error(), one));
  observer.message(
      "", (newer ? "Status: Downloaded newer image for " : "Status: Image is up to date for ") +
              reference.familiar());
  return {};
}

}  // namespace registry
