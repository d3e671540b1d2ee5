// Store: the images of one tenant - tags, configurations, and layers as ready-to-mount EROFS files.
//
// On disk, below StoreOptions::root:
//   images.db                       SQLite (WAL): the only truth about what exists
//   layers/<tenant>/<hex>.erofs     one layer, named by its diff ID (SHA-256 of its tar stream)
//   layers/<tenant>/<hex>.recipe    how to get that exact tar stream back from the EROFS file
//   tmp/                            what is being written; emptied by open()
//   lock                            held while open: one process per root
// A file gets its final name after its bytes are checked and synced, and before the database
// mentions it. open() deletes files that the database does not mention, so a crash at any moment
// costs nothing but work.
//
// Threads: every call is synchronous, may block on disk for long, and may come from any thread.
// Bytes of archives and layers are only interpreted in a sandboxed child process
// (layer_process.h); names and JSON are parsed here with bounded memory.
// Errors: messages are Docker's sentences, ready to be shown; codes: kNotFound unknown image,
// kInvalidArgument bad reference, archive or configuration, kConflict in use, kNotSupported wrong
// platform, kPermissionDenied the signature policy, kResourceExhausted a limit or a full disk,
// kDataLoss a digest does not match. A call that fails changes nothing, but for load().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/layers/layer_limits.h"
#include "images/store/streams/byte_source.h"
#include "images/store/transfer/transfer.h"
#include "images/store/values/image_config.h"
#include "images/store/values/layer_file.h"
#include "images/store/values/origin.h"
#include "images/store/values/reference.h"
#include "vmm/base/result.h"

namespace images {

struct StoreOptions {
  std::string root;                // created if missing
  std::string tenant = "default";  // [a-z0-9][a-z0-9_.-]*: names a directory
  std::string layer_tool;          // path of the containervm-layer program
  std::string layer_groups{};      // cgroup v2 directory for those it runs; empty: none
  LayerLimits limits;
  std::uint64_t max_archive_bytes = std::uint64_t{64} << 30;  // of one `docker load`, uncompressed
  std::shared_ptr<Admission> admission =
      nullptr;  // asked about each image that comes in; null: all images may come in
};

struct Image {
  std::string id;  // "sha256:<hex>"
  ImageConfig config;
  std::string config_json;                // the exact bytes that `id` is the digest of
  std::vector<LayerFile> layers;          // lowest first
  std::vector<std::string> repo_tags;     // familiar form: "busybox:latest"
  std::vector<std::string> repo_digests;  // "busybox@sha256:..."
  std::uint64_t size = 0;                 // sum of content_bytes
  std::string parent;                     // image ID it was built from here, or empty
  std::int64_t last_tagged_ns = 0;        // CLOCK_REALTIME; 0 = never
};

struct ImageSummary {
  std::string id;
  std::string parent;
  std::int64_t created_seconds = 0;  // since the epoch; 0 if the configuration does not say
  std::uint64_t size = 0;
  std::vector<std::string> repo_tags;
  std::vector<std::string> repo_digests;
  std::map<std::string, std::string> labels;
  std::uint64_t containers = 0;  // holders (see hold())
};

/// Conditions are joined by "and"; the alternatives inside one by "or" - except labels: all.
struct ListFilter {
  bool all = false;  // also images that are only parents of others
  std::optional<bool> dangling;
  std::vector<std::string> references;  // patterns: "busy*", "busybox:1.*"
  std::vector<std::string> labels;      // "key" or "key=value"
  std::vector<std::string> without_labels;
  std::optional<std::string> before;  // image names: created before / after that image
  std::optional<std::string> since;
  std::optional<std::int64_t> until_seconds;  // created before this time
};

/// What a load reports while it works. Called from the calling thread; may be empty.
struct LoadObserver {
  /// `layer` is the short diff ID; `current` of `total` bytes of the layer as stored.
  std::function<void(std::string_view layer, std::uint64_t current, std::uint64_t total)>
      on_layer_progress;
  /// One line as Docker writes it: "Loaded image: busybox:latest".
  std::function<void(std::string_view line)> on_line;
};

struct LoadedImage {
  std::string id;
  std::vector<std::string> repo_tags;
};

struct ImportOptions {
  std::string repository_and_tag;    // "" = untagged
  std::vector<std::string> changes;  // Dockerfile instructions: "CMD [\"sh\"]"
  std::string message;               // comment of the history entry
  std::string source;                // "-" or the URL, for the comment when `message` is empty
};

struct CommitOptions {
  std::string parent;              // the ID of the image it is built on; "" = on nothing
  bool without_layer = false;      // only the configuration differs: no stream is read
  std::string repository_and_tag;  // "" = untagged
  std::string config;              // the new image's "config" object, as JSON
  std::string container;           // its ID and configuration (JSON): kept as information
  std::string container_config;
  std::string created_by;  // this and the two below: of the history entry
  std::string author;
  std::string comment;
};

struct RemoveOptions {
  bool force = false;
  bool prune_parents = true;
  std::set<std::string> running;  // holders that run now; others count as stopped
};

/// One line of the answer to a removal, in the order in which Docker reports them.
struct RemovedItem {
  enum class Kind { kUntagged, kDeleted };
  Kind kind = Kind::kUntagged;
  std::string name;      // familiar reference, image ID, or layer chain ID
  std::string image_id;  // set where an event is due ("untag", "delete"); empty for layers
};

struct PruneOptions {
  bool dangling_only = true;
  ListFilter filter;  // `labels`, `without_labels`, `until_seconds` are honoured
  std::set<std::string> running;
};

struct PruneReport {
  std::vector<RemovedItem> removed;
  std::uint64_t reclaimed_bytes = 0;
};

struct DiskUsage {
  std::uint64_t layers_bytes = 0;  // allocated on disk by this tenant's layers
  std::vector<ImageSummary> images;
};

class Store {
 public:
  /// Opens or creates the store, migrates its schema, deletes leftovers.
  /// kUnavailable if another process has it open.
  static base::Result<std::unique_ptr<Store>> open(StoreOptions options);
  virtual ~Store() = default;

  /// `docker load`: a docker-archive or an OCI layout, plain or compressed, of any number of
  /// images. Images before a faulty one stay loaded, as with Docker. This, import() and commit()
  /// end soon with kUnavailable once the source's stop_token() says so, and leave no half image.
  virtual base::Result<std::vector<LoadedImage>> load(ByteSource& archive,
                                                      const LoadObserver& observer) = 0;
  /// `docker import`: one tar stream, plain or compressed, becomes a single-layer image.
  virtual base::Result<LoadedImage> import(ByteSource& tar, const ImportOptions& options) = 0;
  /// `docker commit`: the tar stream `layer` (OCI image spec, layer.md) on top of the layers of an
  /// image, which becomes the parent. A layer without entries is left out, as Docker does.
  virtual base::Result<LoadedImage> commit(ByteSource& layer, const CommitOptions& options) = 0;
  /// The images whose parent is `parent`; for "", those without a parent.
  virtual base::Result<std::vector<Image>> children(std::string_view parent) = 0;
  /// Decompresses bytes [offset, offset + bytes) of the file `in` into the new empty file `out`,
  /// and returns how many bytes that made. The sandboxed child process does it, as for a layer.
  /// Ends early, with kUnavailable, when it is told to stop.
  virtual base::Result<std::uint64_t> decompress(int in, std::uint64_t offset, std::uint64_t bytes,
                                                 int out, std::stop_token stop = {}) = 0;
  /// `docker save`: writes a docker-archive (also an OCI layout) of these images to `sink`.
  virtual base::Result<void> save(const std::vector<std::string>& names, ByteSink& sink) = 0;

  /// For `docker pull` and `docker push` (transfer.h). The departure is of the image `name`.
  virtual base::Result<std::unique_ptr<Arrival>> begin_arrival() = 0;
  virtual base::Result<std::unique_ptr<Departure>> begin_departure(std::string_view name) = 0;
  /// The tags and digests that this host has of a repository ("docker.io/library/busybox").
  virtual base::Result<std::vector<Reference>> names_in(std::string_view repository) = 0;

  /// Finds an image by reference ("debian:12", "debian@sha256:..."), ID, or unique ID prefix.
  virtual base::Result<Image> resolve(std::string_view name) = 0;
  virtual base::Result<std::vector<ImageSummary>> list(const ListFilter& filter) = 0;

  /// Points `target` (a repository, optionally with a tag) at the image `source` and returns the
  /// image's ID.
  virtual base::Result<std::string> tag(std::string_view source, std::string_view target) = 0;
  virtual base::Result<std::vector<RemovedItem>> remove(std::string_view name,
                                                        const RemoveOptions& options) = 0;
  virtual base::Result<PruneReport> prune(const PruneOptions& options) = 0;
  virtual base::Result<DiskUsage> disk_usage() = 0;

  /// Records that `holder` (a container's ID) uses the image with this exact ID, and returns it.
  /// Its layers stay until release(), even if the image itself is force-removed. Idempotent.
  virtual base::Result<Image> hold(std::string_view holder, std::string_view image_id) = 0;
  /// The layers `holder` keeps, lowest first. kNotFound if it holds nothing.
  virtual base::Result<std::vector<LayerFile>> held_layers(std::string_view holder) = 0;
  /// Undoes hold() and deletes layers that nothing needs any more. Unknown holders are fine.
  virtual base::Result<void> release(std::string_view holder) = 0;
  /// After a restart: releases every holder that is not in `holders`.
  virtual base::Result<void> retain_only(const std::set<std::string>& holders) = 0;

  /// Whether may_run() asks anybody.
  virtual bool has_admission() const { return false; }
  /// Whether the image with this exact ID may run now: StoreOptions::admission accepts one of the
  /// origins that it came from. Also for an image that only a holder has any more.
  /// kPermissionDenied with the reason otherwise.
  virtual base::Result<void> may_run(std::string_view /*image_id*/) { return {}; }
};

}  // namespace images
