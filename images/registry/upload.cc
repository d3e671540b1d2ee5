// Repository::upload: a blob of unknown length and digest, in one streamed PATCH and a PUT that
// names the digest (OCI distribution spec, "Pushing a blob in chunks").

#include <algorithm>

#include "images/registry/documents/answers.h"
#include "images/registry/repository.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kDrainBytes = 16u << 10;

/// Digests all that is produced, and passes on what the registry does not have yet.
class ResumingSink : public images::ByteSink {
 public:
  ResumingSink(images::ByteSink& sink, std::uint64_t skip) : sink_(sink), skip_(skip) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    hash_.update(bytes);
    total_ += bytes.size();
    const std::size_t known =
        static_cast<std::size_t>(std::min<std::uint64_t>(skip_, bytes.size()));
    skip_ -= known;
    return known == bytes.size() ? Result<void>() : sink_.write(bytes.subspan(known));
  }
  images::RemoteBlob blob() {
    return {.digest = images::to_digest_string(hash_.finish()),
            .bytes = total_,
            .media_type = std::string(media::kDockerLayer)};
  }
  /// Whether the registry has bytes that were never produced.
  bool is_short() const { return skip_ > 0; }

 private:
  images::ByteSink& sink_;
  std::uint64_t skip_;
  images::Sha256 hash_;
  std::uint64_t total_ = 0;
};

}  // namespace

Result<Url> Repository::begin_upload(const StopSignal& stop) {
  const HttpRequest post{
      .method = "POST", .url = url("/blobs/uploads/"), .headers = {}, .text = {}, .body = {}};
  auto response = request(post, stop);
  if (!response) return std::move(response).error();
  if (response->status() != 202) return registry_error(*response, stop);
  auto location = post.url.resolve(response->header("Location"));
  (void)response->read_all(kDrainBytes, stop);
  if (!location) return Error{Code::kInternal, "upload: " + location.error().message};
  return location;
}

/// How much of an upload the registry has; 0, and a new upload, if it will not tell.
Result<std::uint64_t> Repository::upload_offset(Url& location, const StopSignal& stop) {
  const HttpRequest get{.url = location, .headers = {}, .text = {}, .body = {}};
  auto response = session_->send(get, scopes_, stop);
  if (response && response->status() == 204) {
    const auto offset = parse_upload_offset(response->header("Range"));
    const auto next = location.resolve(response->header("Location"));
    if (offset && *offset > 0) {
      if (next) location = *next;
      return *offset;
    }
  }
  auto fresh = begin_upload(stop);
  if (!fresh) return std::move(fresh).error();
  location = *std::move(fresh);
  return std::uint64_t{0};
}

Result<images::RemoteBlob> Repository::upload(const Produce& produce, const StopSignal& stop) {
  auto begun = begin_upload(stop);
  if (!begun) return std::move(begun).error();
  Url location = *std::move(begun);
  std::uint64_t offset = 0;
  for (int attempt = 1;; ++attempt) {
    std::optional<images::RemoteBlob> blob;
    HttpRequest patch{.method = "PATCH",
                      .url = location,
                      .headers = {{"Content-Type", "application/octet-stream"}},
                      .text = {},
                      .body = {}};
    patch.body = [&](images::ByteSink& out) -> Result<void> {
      ResumingSink sink(out, offset);
      RETURN_IF_ERROR(produce(sink));
      if (sink.is_short())
        return Error{Code::kInternal, "the registry says it has more of the blob than was sent"};
      blob = sink.blob();
      return {};
    };
    auto response = session_->send(patch, scopes_, stop);
    if (stop.requested()) return stopped_error();
    if (response && response->status() == 202 && blob) {
      const auto next = location.resolve(response->header("Location"));
      (void)response->read_all(kDrainBytes, stop);
      if (next) location = *next;
      HttpRequest put{.method = "PUT", .url = location, .headers = {}, .text = {}, .body = {}};
      add_query(put.url.target, "digest", blob->digest);
      auto done = request(put, stop);
      if (!done) return std::move(done).error();
      if (done->status() != 201 && done->status() != 204) return registry_error(*done, stop);
      (void)done->read_all(kDrainBytes, stop);
      return *std::move(blob);
    }
    const bool transient =
        response ? is_transient(response->status()) : is_transient(response.error());
    if (!transient || attempt >= retry_.attempts) {
      if (response) return registry_error(*response, stop);
      return std::move(response).error();
    }
    const std::string asked = response ? response->header("Retry-After") : "";
    if (response) (void)response->read_all(kDrainBytes, stop);
    stop.sleep(retry_delay(retry_, attempt, asked));
    if (stop.requested()) return stopped_error();
    auto known = upload_offset(location, stop);
    if (!known) return std::move(known).error();
    offset = *known;
  }
}

}  // namespace registry
