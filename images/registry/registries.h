// Registries: pull, push, log in, search and inspect, at any registry. The daemon has one object.
//
// It is implemented in pull.cc, push.cc and, for the rest, registries.cc.
// Threads: every call blocks for as long as the network takes, and may come from any thread;
// layers move on threads of this object (kDownloads, kUploads). A call ends soon after its
// stop_token says so. The store outlives this.
// Errors: Docker's sentences; codes: kNotFound (also where a registry does not say whether an image
// is there), kPermissionDenied (login), kInvalidArgument, kNotSupported, kInternal.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "images/registry/http/settings.h"
#include "images/registry/http/web_file.h"
#include "images/registry/layer_downloads.h"
#include "images/registry/repository.h"
#include "images/registry/search.h"
#include "images/store/store.h"
#include "images/store/values/reference.h"

namespace registry {

/// Is told by pulls and pushes how far they are, in Docker's words. Called from several threads.
class TransferObserver {
 public:
  virtual ~TransferObserver() = default;
  /// `id` may be empty.
  virtual void message(std::string_view id, std::string_view text) = 0;
  /// `action` is what happens to the layer `id`; if `total` is not 0, `current` of it is done.
  virtual void update(std::string_view id, std::string_view action, std::uint64_t current,
                      std::uint64_t total) = 0;
  virtual void pushed(std::string_view tag, std::string_view digest, std::uint64_t size) = 0;
};

/// Decides whether an image may be pulled, when its digests are known (its manifest's, then that of
/// the index it was found in) and before any layer is fetched; may read further manifests and blobs
/// of its repository (signatures). The Origin returned is kept with the image. An Error ends the
/// pull with its sentence.
using Admission = std::function<base::Result<images::Origin>(
    const images::Reference& reference, std::vector<std::string> manifest_digests,
    Repository& repository, const StopSignal& stop)>;

struct RegistriesOptions {
  SettingsOptions settings;
  std::string user_agent = "docker/28.5.0 (containerVM)";
  Timeouts timeouts;
  RetryPolicy retry;
  Admission admit;  // empty: every image may be pulled
};

struct PullRequest {
  images::Reference reference;  // without tag and digest: every tag
  std::optional<Platform> platform;
  Credentials credentials;
};

struct PushRequest {
  images::Reference reference;  // without tag: every tag that this host has
  Credentials credentials;
};

/// What a registry says of an image, without pulling it.
struct Inspection {
  Descriptor descriptor;
  std::vector<Platform> platforms;
};

class Registries {
 public:
  static constexpr std::size_t kDownloads = 3;
  static constexpr std::size_t kUploads = 5;

  static base::Result<std::unique_ptr<Registries>> make(RegistriesOptions options,
                                                        images::Store& store);

  base::Result<void> pull(const PullRequest& request, TransferObserver& observer,
                          std::stop_token stop);
  base::Result<void> push(const PushRequest& request, TransferObserver& observer,
                          std::stop_token stop);
  /// `docker login`: an identity token, or "" if the registry gave none.
  base::Result<std::string> log_in(const Credentials& credentials, std::stop_token stop);
  /// What an index finds (search.h). docker.io's index is on another host than its registry.
  base::Result<std::vector<FoundImage>> search(const SearchQuery& query,
                                               const Credentials& credentials,
                                               std::stop_token stop);
  base::Result<Inspection> inspect(const images::Reference& reference,
                                   const Credentials& credentials, std::stop_token stop);

  /// Fetches a file from any web server but this host's own (web_file.h).
  base::Result<WebFile> fetch_file(const Url& url, images::ByteSink& into,
                                   const WebProgress& progress, std::stop_token stop);

  const Settings& settings() const { return settings_; }

 private:
  using RepositoryPtr = std::shared_ptr<Repository>;
  class PullOfOne;
  class PushOfOne;

  Registries(RegistriesOptions options, Settings settings, images::Store& store)
      : options_(std::move(options)),
        settings_(std::move(settings)),
        store_(store),
        client_(options_.user_agent, options_.timeouts, Reach::kAnywhere, settings_.proxies()),
        web_(options_.user_agent, options_.timeouts, Reach::kOtherHosts, settings_.proxies()),
        downloads_(store, kDownloads),
        uploads_(kUploads) {}

  /// The repository at the first endpoint that answers and for which `use` succeeds. If a mirror
  /// fails, the next endpoint is tried.
  base::Result<RepositoryPtr> connect(const images::Reference& reference,
                                      const Credentials& credentials, bool for_push,
                                      const std::function<base::Result<void>(Repository&)>& use,
                                      const StopSignal& stop);
  base::Result<void> pull_tag(const PullRequest& request, const images::Reference& reference,
                              bool& newer, TransferObserver& observer, const StopSignal& stop);

  const RegistriesOptions options_;
  const Settings settings_;
  images::Store& store_;
  HttpClient client_;
  HttpClient web_;
  LayerDownloads downloads_;
  WorkQueue uploads_;
};

/// The first twelve digits of a digest.
std::string short_digest(std::string_view digest);

}  // namespace registry
