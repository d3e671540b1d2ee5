// Repository: one repository of a registry - its manifests, blobs and uploads.
//
// Spec: OCI distribution spec, "Endpoints". What is read by digest is always compared with it.
// Requests are repeated as retry.h says; a blob that was cut off goes on where it ended.
// Threads: any number at once. Trust: answers are hostile: sizes and locations are checked, memory
// is bounded.
// Errors: Docker's sentences. kNotFound, kPermissionDenied as the registry says; kDataLoss where a
// digest or size does not match.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "images/registry/documents/manifest.h"
#include "images/registry/http/retry.h"
#include "images/registry/http/session.h"
#include "images/store/streams/byte_source.h"
#include "images/store/streams/digest.h"
#include "images/store/transfer/transfer.h"

namespace registry {

/// A manifest's exact bytes and what the registry calls them.
struct Document {
  std::string media_type;
  std::string digest;
  std::string bytes;
};

class Repository {
 public:
  /// `path` within the registry: "library/busybox". Several repositories may share the session.
  Repository(std::shared_ptr<Session> session, std::string path, bool may_push, RetryPolicy retry)
      : session_(std::move(session)),
        path_(std::move(path)),
        scopes_{repository_scope(path_, may_push ? "pull,push" : "pull")},
        retry_(retry) {}

  const std::string& path() const { return path_; }

  base::Result<void> ping(const StopSignal& stop) { return session_->ping(stop); }
  /// The manifest that `reference`, a tag or digest, names.
  base::Result<Document> manifest(const std::string& reference, const StopSignal& stop);
  /// A small blob, whole.
  base::Result<std::string> blob(const Descriptor& descriptor, const StopSignal& stop);
  /// All tags, at most kMaxTags.
  base::Result<std::vector<std::string>> tags(const StopSignal& stop);

  /// The size of a blob; nullopt if the repository does not have it.
  base::Result<std::optional<std::uint64_t>> find_blob(const std::string& digest,
                                                       const StopSignal& stop);
  /// Asks the registry to take the blob over from another repository of its own; whether it did.
  base::Result<bool> mount_blob(const std::string& digest, const std::string& from_path,
                                const StopSignal& stop);
  /// Sends a blob and returns its digest and size. `produce` writes the blob's bytes, the same ones
  /// at each call: after a cut it is called again, and the bytes that the registry has are skipped.
  using Produce = std::function<base::Result<void>(images::ByteSink&)>;
  base::Result<images::RemoteBlob> upload(const Produce& produce, const StopSignal& stop);
  base::Result<void> put_manifest(const std::string& reference, std::string_view media_type,
                                  const std::string& bytes, const StopSignal& stop);

 private:
  friend class BlobReader;
  static constexpr std::size_t kMaxTags = 10'000;

  Url url(const std::string& suffix) const { return session_->url("/v2/" + path_ + suffix); }
  /// Sends, and repeats as the RetryPolicy says. The answer may have any status.
  base::Result<HttpResponse> request(const HttpRequest& request, const StopSignal& stop,
                                     const Scopes* scopes = nullptr);
  base::Result<Document> read_manifest(HttpResponse response, const std::string& reference,
                                       const StopSignal& stop);
  base::Result<Url> begin_upload(const StopSignal& stop);
  base::Result<std::uint64_t> upload_offset(Url& location, const StopSignal& stop);

  const std::shared_ptr<Session> session_;
  const std::string path_;
  const Scopes scopes_;
  const RetryPolicy retry_;
};

/// A blob as a stream: exactly the descriptor's bytes, or an Error.
class BlobReader : public images::ByteSource {
 public:
  /// `repository` and `stop` outlive it.
  BlobReader(Repository& repository, Descriptor descriptor, const StopSignal& stop)
      : repository_(repository), descriptor_(std::move(descriptor)), stop_(stop) {}

  base::Result<std::size_t> read(std::span<std::byte> out) override;
  std::uint64_t offset() const { return offset_; }

 private:
  base::Result<void> open();
  base::Result<void> skip_to_offset();
  base::Result<std::size_t> read_once(std::span<std::byte> out);
  base::Result<std::size_t> finish();

  Repository& repository_;
  const Descriptor descriptor_;
  const StopSignal& stop_;
  std::optional<HttpResponse> response_;
  images::Sha256 hash_;
  bool finished_ = false;
  std::uint64_t offset_ = 0;
  std::uint64_t progress_ = 0;  // the offset at the last fault
  int faults_ = 0;
};

}  // namespace registry
