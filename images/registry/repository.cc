#include "images/registry/repository.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "images/registry/documents/answers.h"
#include "images/store/values/reference.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxTagListBytes = 1u << 20;
constexpr std::size_t kDrainBytes = 16u << 10;
constexpr std::string_view kAcceptManifests =
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

Error data_loss(std::string message) { return {Code::kDataLoss, std::move(message)}; }

/// An answer's first bytes are read so that its connection can have another request.
void drain(HttpResponse& response, const StopSignal& stop) {
  (void)response.read_all(kDrainBytes, stop);
}

}  // namespace

Result<HttpResponse> Repository::request(const HttpRequest& request, const StopSignal& stop,
                                         const Scopes* scopes) {
  for (int attempt = 1;; ++attempt) {
    auto response = session_->send(request, scopes ? *scopes : scopes_, stop);
    if (stop.requested()) return stopped_error();
    const bool transient =
        response ? is_transient(response->status()) : is_transient(response.error());
    if (!transient || attempt >= retry_.attempts) return response;
    const std::string asked = response ? response->header("Retry-After") : "";
    if (response) drain(*response, stop);
    stop.sleep(retry_delay(retry_, attempt, asked));
    if (stop.requested()) return stopped_error();
  }
}

Result<Document> Repository::manifest(const std::string& reference, const StopSignal& stop) {
  const HttpRequest get{.url = url("/manifests/" + reference),
                        .headers = {{"Accept", std::string(kAcceptManifests)}},
                        .text = {},
                        .body = {}};
  for (int attempt = 1;; ++attempt) {
    auto response = request(get, stop);
    if (!response) return std::move(response).error();
    auto document = read_manifest(*std::move(response), reference, stop);
    if (document || !is_transient(document.error()) || attempt >= retry_.attempts ||
        stop.requested())
      return document;
    stop.sleep(retry_delay(retry_, attempt, ""));
  }
}

Result<Document> Repository::read_manifest(HttpResponse response, const std::string& reference,
                                           const StopSignal& stop) {
  if (response.status() != 200) return registry_error(response, stop);
  auto bytes = response.read_all(kMaxManifestBytes, stop);
  if (!bytes) return base::annotate(std::move(bytes), "manifest " + reference);
  Document document{.media_type = response.header("Content-Type"),
                    .digest = images::digest_of(*bytes),
                    .bytes = *std::move(bytes)};
  const std::string said = response.header("Docker-Content-Digest");
  const bool by_digest = images::is_sha256_digest(reference);
  if ((by_digest && document.digest != reference) ||
      (images::is_sha256_digest(said) && document.digest != said))
    return data_loss("manifest verification failed for digest " + (by_digest ? reference : said));
  return document;
}

Result<std::string> Repository::blob(const Descriptor& descriptor, const StopSignal& stop) {
  if (descriptor.size > kMaxManifestBytes)
    return Error{Code::kResourceExhausted, descriptor.digest + " is larger than the limit"};
  BlobReader reader(*this, descriptor, stop);
  std::string text(descriptor.size, '\0');
  auto got = images::read_fully(reader, std::as_writable_bytes(std::span(text)));
  if (!got) return std::move(got).error();
  std::array<std::byte, 1> more{};
  auto end = reader.read(more);  // checks the digest
  if (!end) return std::move(end).error();
  return text;
}

Result<std::vector<std::string>> Repository::tags(const StopSignal& stop) {
  std::vector<std::string> tags;
  HttpRequest get{.url = url("/tags/list"), .headers = {}, .text = {}, .body = {}};
  while (true) {
    auto response = request(get, stop);
    if (!response) return std::move(response).error();
    if (response->status() != 200) return registry_error(*response, stop);
    auto body = response->read_all(kMaxTagListBytes, stop);
    if (!body) return std::move(body).error();
    auto names = parse_tag_list(*body);
    if (!names) return std::move(names).error();
    tags.insert(tags.end(), std::make_move_iterator(names->begin()),
                std::make_move_iterator(names->end()));
    if (tags.size() > kMaxTags)
      return Error{Code::kResourceExhausted, "the repository has too many tags to pull them all"};
    const std::string link = next_link(response->header("Link"));
    if (link.empty() || body->size() < 3) return tags;
    auto next = get.url.resolve(link);
    if (!next || !next->same_origin(get.url) || next->target == get.url.target) return tags;
    get.url = *std::move(next);
  }
}

Result<std::optional<std::uint64_t>> Repository::find_blob(const std::string& digest,
                                                           const StopSignal& stop) {
  const HttpRequest head{
      .method = "HEAD", .url = url("/blobs/" + digest), .headers = {}, .text = {}, .body = {}};
  auto response = request(head, stop);
  if (!response) return std::move(response).error();
  if (response->status() == 404) return std::optional<std::uint64_t>();
  if (response->status() != 200) return registry_error(*response, stop);
  return std::optional<std::uint64_t>(parse_number(response->header("Content-Length")).value_or(0));
}

Result<bool> Repository::mount_blob(const std::string& digest, const std::string& from_path,
                                    const StopSignal& stop) {
  HttpRequest post{
      .method = "POST", .url = url("/blobs/uploads/"), .headers = {}, .text = {}, .body = {}};
  add_query(post.url.target, "mount", digest);
  add_query(post.url.target, "from", from_path);
  Scopes scopes = scopes_;
  scopes.push_back(repository_scope(from_path, "pull"));
  auto response = request(post, stop, &scopes);
  if (!response) return std::move(response).error();
  const int status = response->status();
  const std::string location = response->header("Location");
  drain(*response, stop);
  if (status == 201) return true;
  if (status != 202) return false;
  // It began an upload instead, which nobody will finish.
  if (const auto upload = post.url.resolve(location)) {
    const HttpRequest cancel{
        .method = "DELETE", .url = *upload, .headers = {}, .text = {}, .body = {}};
    if (auto done = session_->send(cancel, scopes_, stop)) drain(*done, stop);
  }
  return false;
}

Result<void> Repository::put_manifest(const std::string& reference, std::string_view media_type,
                                      const std::string& bytes, const StopSignal& stop) {
  const HttpRequest put{.method = "PUT",
                        .url = url("/manifests/" + reference),
                        .headers = {{"Content-Type", std::string(media_type)}},
                        .text = bytes,
                        .body = {}};
  auto response = request(put, stop);
  if (!response) return std::move(response).error();
  if (!response->ok()) return registry_error(*response, stop);
  const std::string said = response->header("Docker-Content-Digest");
  drain(*response, stop);
  if (images::is_sha256_digest(said) && said != images::digest_of(bytes))
    return data_loss("the registry has another manifest than was pushed: " + said);
  return {};
}

// --- reading a blob -------------------------------------------------------------------------

Result<void> BlobReader::open() {
  HttpRequest get{.url = repository_.url("/blobs/" + descriptor_.digest),
                  .headers = {},
                  .text = {},
                  .body = {}};
  if (offset_ > 0) get.headers.emplace_back("Range", "bytes=" + std::to_string(offset_) + "-");
  auto response = repository_.request(get, stop_);
  if (!response) return std::move(response).error();
  const int status = response->status();
  if (status != 200 && status != 206) return registry_error(*response, stop_);
  response_ = *std::move(response);
  if (status == 200) return offset_ > 0 ? skip_to_offset() : Result<void>();
  if (offset_ == 0 || parse_range_start(response_->header("Content-Range")) != offset_)
    return data_loss("the registry sent another range of " + descriptor_.digest +
                     " than it was asked for");
  return {};
}

/// For registries without ranges: what is known already passes by.
Result<void> BlobReader::skip_to_offset() {
  std::vector<std::byte> buffer(64u << 10);
  for (std::uint64_t left = offset_; left > 0;) {
    auto got = response_->read(
        std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size())), stop_);
    if (!got) return std::move(got).error();
    if (*got == 0) return Error{Code::kUnavailable, "unexpected EOF"};
    left -= *got;
  }
  return {};
}

Result<std::size_t> BlobReader::read_once(std::span<std::byte> out) {
  if (!response_) RETURN_IF_ERROR(open());
  // One byte more than there should be shows a body that is too long.
  auto got = response_->read(out, stop_);
  if (!got) return got;
  if (*got > descriptor_.size - offset_)
    return data_loss("blob " + descriptor_.digest + " is larger than its size of " +
                     std::to_string(descriptor_.size) + " bytes");
  if (*got == 0 && offset_ < descriptor_.size) return Error{Code::kUnavailable, "unexpected EOF"};
  return got;
}

Result<std::size_t> BlobReader::finish() {
  finished_ = true;
  response_.reset();
  if (images::to_digest_string(hash_.finish()) != descriptor_.digest)
    return data_loss("filesystem layer verification failed for digest " + descriptor_.digest);
  return std::size_t{0};
}

Result<std::size_t> BlobReader::read(std::span<std::byte> out) {
  constexpr std::uint64_t kWorthwhile = 256u << 10;
  while (!finished_) {
    auto got = read_once(out);
    if (stop_.requested()) return stopped_error();
    if (got) {
      if (*got == 0) return finish();
      hash_.update(out.first(*got));
      offset_ += *got;
      return got;
    }
    // request() has already repeated a request that got no answer.
    const bool opened = response_.has_value();
    response_.reset();
    if (!opened || !is_transient(got.error())) return got;
    // Faults count only without progress between them.
    if (offset_ >= progress_ + kWorthwhile) faults_ = 0;
    progress_ = offset_;
    if (++faults_ >= repository_.retry_.attempts)
      return Error{got.error().code, "blob " + descriptor_.digest + ": " + got.error().message};
    stop_.sleep(retry_delay(repository_.retry_, faults_, ""));
    if (stop_.requested()) return stopped_error();
  }
  return std::size_t{0};
}

}  // namespace registry
