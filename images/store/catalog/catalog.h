// Catalog: what the database knows about one tenant's images, layers, names and holders.
//
// Threads: none of its own and no lock: LocalStore (local_store.h) calls it under its mutex.
// Several changes that belong together go between begin() and Transaction::commit().
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/catalog/sqlite.h"
#include "images/store/values/origin.h"
#include "images/store/values/reference.h"
#include "images/store/values/remote_blob.h"

namespace images {

struct LayerRow {
  std::string diff_id;
  std::uint64_t image_bytes = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t tar_bytes = 0;
};

struct ImageRow {
  std::string id;
  std::string config_json;
  std::string parent;
  std::int64_t last_tagged_ns = 0;
};

class Catalog {
 public:
  /// Opens or creates the database and brings its schema up to date. kNotSupported if a newer
  /// program made it.
  static base::Result<Catalog> open(const std::string& path, std::string tenant);

  base::Result<Transaction> begin() { return Transaction::begin(database_); }

  base::Result<std::optional<LayerRow>> find_layer(std::string_view diff_id);
  base::Result<void> put_layer(const LayerRow& layer);
  base::Result<std::set<std::string>> layer_ids();
  /// Forgets every layer that no image and no holder has and that is not in `keep`, and returns
  /// their IDs. Also forgets the origins of images that no longer exist and that no holder has.
  base::Result<std::vector<std::string>> drop_unused_layers(const std::multiset<std::string>& keep);

  base::Result<std::optional<ImageRow>> find_image(std::string_view id);
  /// IDs that begin with `prefix` ("sha256:ab...").
  base::Result<std::vector<std::string>> image_ids_like(std::string_view prefix);
  base::Result<std::vector<ImageRow>> images();
  base::Result<std::vector<std::string>> children(std::string_view parent);
  base::Result<bool> has_children(std::string_view id);
  /// Adds the image; changes nothing if it exists already.
  base::Result<void> put_image(const ImageRow& image, const std::vector<std::string>& diff_ids);
  base::Result<void> delete_image(std::string_view id);
  base::Result<std::vector<LayerRow>> layers_of_image(std::string_view id);

  /// The image that a tag or digest reference names.
  base::Result<std::optional<std::string>> find_reference(const Reference& reference);
  /// Adds or moves the reference.
  base::Result<void> put_reference(const Reference& reference, std::string_view image_id,
                                   std::int64_t now_ns);
  base::Result<void> delete_reference(const Reference& reference);
  /// All names of an image, ordered by text.
  base::Result<std::vector<Reference>> references_of(std::string_view image_id);

  /// Adds an origin of the image; it replaces an earlier one of the same name.
  base::Result<void> put_origin(std::string_view image_id, const Origin& origin);
  /// The origins that were put for the image. They stay as long as the image or a holder of it.
  base::Result<std::vector<Origin>> origins_of(std::string_view image_id);

  /// All names in a repository ("docker.io/library/busybox"), ordered by text.
  base::Result<std::vector<Reference>> references_in(std::string_view repository);

  /// The forms in which repositories have a layer: at most kKnownBlobs of one, newest first.
  static constexpr std::int64_t kKnownBlobs = 64;
  struct BlobRow {
    std::string repository;
    RemoteBlob blob;
  };
  base::Result<std::vector<BlobRow>> blobs_of(std::string_view diff_id);
  base::Result<void> put_blob(std::string_view diff_id, std::string_view repository,
                              const RemoteBlob& blob, std::int64_t now_ns);

  struct Holder {
    std::string holder;
    std::string image_id;
  };
  base::Result<std::vector<Holder>> holders();
  base::Result<void> put_holder(std::string_view holder, std::string_view image_id);
  base::Result<void> delete_holder(std::string_view holder);
  /// Lowest first; nullopt if there is no such holder.
  base::Result<std::optional<std::vector<LayerRow>>> layers_of_holder(std::string_view holder);

 private:
  Catalog(Database database, std::string tenant)
      : database_(std::move(database)), tenant_(std::move(tenant)) {}

  base::Result<void> migrate();
  base::Result<std::vector<LayerRow>> layers_from(std::string_view table, std::string_view key,
                                                  std::string_view value);

  Database database_;
  std::string tenant_;
};

}  // namespace images
