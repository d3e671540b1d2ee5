#include "images/registry/registries.h"

#include "images/store/values/image_config.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;
using images::Reference;

namespace {

std::string reference_in_registry(const Reference& reference) {
  return reference.digest().empty() ? reference.with_default_tag().tag() : reference.digest();
}

}  // namespace

std::string short_digest(std::string_view digest) {
  constexpr std::size_t kShown = 12;
  return std::string(digest.substr(digest.find(':') + 1, kShown));
}

Result<std::unique_ptr<Registries>> Registries::make(RegistriesOptions options,
                                                     images::Store& store) {
  auto settings = Settings::make(options.settings);
  if (!settings) return std::move(settings).error();
  return std::unique_ptr<Registries>(
      new Registries(std::move(options), *std::move(settings), store));
}

Result<Registries::RepositoryPtr> Registries::connect(
    const Reference& reference, const Credentials& credentials, bool for_push,
    const std::function<Result<void>(Repository&)>& use, const StopSignal& stop) {
  auto endpoints = settings_.endpoints(reference.domain(), !for_push);
  if (!endpoints) return std::move(endpoints).error();
  Error last{Code::kInternal, "no endpoint"};
  for (Endpoint& endpoint : *endpoints) {
    const bool is_mirror = endpoint.is_mirror;
    // A mirror does not get the registry's credentials.
    auto session = std::make_shared<Session>(client_, std::move(endpoint),
                                             is_mirror ? Credentials() : credentials);
    auto repository = std::make_shared<Repository>(std::move(session), reference.path(), for_push,
                                                   options_.retry);
    const auto reached = repository->ping(stop);
    if (stop.requested()) return stopped_error();
    if (!reached) {
      last = reached.error();
      continue;
    }
    const auto used = use(*repository);
    if (used) return repository;
    if (stop.requested()) return stopped_error();
    last = used.error();
    if (!is_mirror) return last;
  }
  return last;
}

Result<std::string> Registries::log_in(const Credentials& credentials, std::stop_token token) {
  const StopSignal stop(std::move(token));
  auto endpoints = settings_.endpoints(domain_of(credentials.server_address), false);
  if (!endpoints) return std::move(endpoints).error();
  Error last{Code::kInternal, "no endpoint"};
  for (Endpoint& endpoint : *endpoints) {
    Session session(client_, std::move(endpoint), credentials);
    const auto reached = session.ping(stop);
    if (!reached) {
      // A certificate that does not verify is not the client's fault: no 401.
      last = {Code::kInternal, reached.error().message};
      continue;
    }
    return session.log_in(stop);
  }
  return last;
}

Result<std::vector<FoundImage>> Registries::search(const SearchQuery& query,
                                                   const Credentials& credentials,
                                                   std::stop_token token) {
  const StopSignal stop(std::move(token));
  const std::string host = query.domain == kHubDomain ? std::string(kHubIndexHost) : query.domain;
  auto endpoints = settings_.endpoints(host, false);
  if (!endpoints) return std::move(endpoints).error();
  Error last{Code::kInternal, "no endpoint"};
  for (const Endpoint& endpoint : *endpoints) {
    auto found = search_index(client_, endpoint, query, credentials, stop);
    if (found || found.error().code != Code::kUnavailable) return found;
    last = found.error();
  }
  return last;
}

Result<Inspection> Registries::inspect(const Reference& reference, const Credentials& credentials,
                                       std::stop_token token) {
  const StopSignal stop(std::move(token));
  std::optional<Document> document;
  auto repository = connect(
      reference, credentials, false,
      [&](Repository& from) -> Result<void> {
        auto read = from.manifest(reference_in_registry(reference), stop);
        if (!read) return std::move(read).error();
        document = *std::move(read);
        return {};
      },
      stop);
  if (!repository) return std::move(repository).error();
  auto kind = kind_of(document->media_type, document->bytes, reference.familiar());
  if (!kind) return std::move(kind).error();
  Inspection inspection{.descriptor = {.media_type = document->media_type,
                                       .digest = document->digest,
                                       .size = document->bytes.size(),
                                       .platform = std::nullopt},
                        .platforms = {}};
  if (*kind == ManifestKind::kIndex) {
    auto entries = parse_index(document->bytes);
    if (!entries) return std::move(entries).error();
    for (const Descriptor& entry : *entries)
      if (entry.platform) inspection.platforms.push_back(*entry.platform);
    return inspection;
  }
  auto manifest = parse_image_manifest(document->bytes);
  if (!manifest) return std::move(manifest).error();
  auto config_json = (*repository)->blob(manifest->config, stop);
  if (!config_json) return std::move(config_json).error();
  auto config = images::parse_image_config(*config_json);
  if (!config) return std::move(config).error();
  inspection.platforms.push_back(
      {.os = config->os, .architecture = config->architecture, .variant = config->variant});
  return inspection;
}

Result<WebFile> Registries::fetch_file(const Url& url, images::ByteSink& into,
                                       const WebProgress& progress, std::stop_token token) {
  const StopSignal stop(std::move(token));
  return registry::fetch_file(web_, url, into, WebFileLimits(), progress, stop);
}

}  // namespace registry
