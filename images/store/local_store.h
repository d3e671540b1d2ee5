// LocalStore: the Store on a local directory. See store.h for what it does.
//
// local_store.cc    open, resolve, tag, holders
// local_list.cc     list, disk usage
// local_load.cc     load, import, and adding layers
// local_remove.cc   remove, prune
// local_commit.cc   commit
// local_save.cc     save
// local_transfer.cc arrivals and departures: pull and push
// Locking: mutex_ guards catalog_, pins_ and the set of files in layers/. It is never held while
// bytes are read, converted or written.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "images/store/catalog/catalog.h"
#include "images/store/catalog/layer_files.h"
#include "images/store/layers/layer_process.h"
#include "images/store/store.h"
#include "images/store/transfer/archive.h"

namespace images {

class LocalStore : public Store {
 public:
  LocalStore(StoreOptions options, LayerFiles files, Catalog catalog)
      : options_(std::move(options)),
        process_(options_.layer_tool, options_.layer_groups),
        files_(std::move(files)),
        catalog_(std::move(catalog)) {}

  /// Deletes what a crash left behind. To be called before all others.
  base::Result<void> recover();

  base::Result<std::vector<LoadedImage>> load(ByteSource& archive,
                                              const LoadObserver& observer) override;
  base::Result<LoadedImage> import(ByteSource& tar, const ImportOptions& options) override;
  base::Result<LoadedImage> commit(ByteSource& layer, const CommitOptions& options) override;
  base::Result<std::vector<Image>> children(std::string_view parent) override;
  base::Result<std::uint64_t> decompress(int in, std::uint64_t offset, std::uint64_t bytes, int out,
                                         std::stop_token stop) override;
  base::Result<void> save(const std::vector<std::string>& names, ByteSink& sink) override;
  base::Result<std::unique_ptr<Arrival>> begin_arrival() override;
  base::Result<std::unique_ptr<Departure>> begin_departure(std::string_view name) override;
  base::Result<std::vector<Reference>> names_in(std::string_view repository) override;
  base::Result<Image> resolve(std::string_view name) override;
  base::Result<std::vector<ImageSummary>> list(const ListFilter& filter) override;
  base::Result<std::string> tag(std::string_view source, std::string_view target) override;
  base::Result<std::vector<RemovedItem>> remove(std::string_view name,
                                                const RemoveOptions& options) override;
  base::Result<PruneReport> prune(const PruneOptions& options) override;
  base::Result<DiskUsage> disk_usage() override;
  base::Result<Image> hold(std::string_view holder, std::string_view image_id) override;
  base::Result<std::vector<LayerFile>> held_layers(std::string_view holder) override;
  base::Result<void> release(std::string_view holder) override;
  base::Result<void> retain_only(const std::set<std::string>& holders) override;
  bool has_admission() const override { return options_.admission != nullptr; }
  base::Result<void> may_run(std::string_view image_id) override;

 private:
  /// Keeps layers from being dropped between their making and their image's.
  class Pins;
  class LocalArrival;
  class LocalDeparture;

  /// One call's view of names and images; `locked` methods need mutex_.
  base::Result<std::string> resolve_id_locked(std::string_view name);
  base::Result<Image> image_locked(const std::string& id);
  base::Result<void> drop_unused_layers_locked();
  LayerFile layer_file(const LayerRow& row) const;
  /// The layer's exact tar stream, digest compared.
  base::Result<void> write_tar(const LayerRow& layer, ByteSink& sink) const;

  base::Result<FileRange> spool_in(ByteSource& source, const base::UniqueFd& spool) const;
  base::Result<LayerRow> add_layer(FileRange blob, std::string_view blob_digest,
                                   std::string_view diff_id, Pins& pins,
                                   const LoadObserver& observer, std::stop_token stop);
  /// Whether the layer is there already; if so, it is pinned.
  base::Result<std::optional<LayerRow>> pin_known(std::string_view diff_id, Pins& pins);
  /// Publishes what was converted, its digests compared with those that are not empty.
  base::Result<LayerRow> publish_layer(LayerFiles::Draft& draft, const ConvertedLayer& layer,
                                       std::string_view blob_digest, std::string_view diff_id,
                                       Pins& pins);
  base::Result<LoadedImage> add_image(const PlannedImage& planned, const LoadObserver& observer,
                                      const std::stop_token& stop);
  /// The layer of a commit's stream; nullopt for one without entries.
  base::Result<std::optional<std::string>> layer_of(ByteSource& stream, Pins& pins);
  base::Result<ImageRow> pin_parent(const std::string& id, Pins& pins);
  /// Also records the origin. kNotFound if the parent that it names is gone.
  base::Result<void> commit_image(const ImageRow& image, const std::vector<std::string>& diff_ids,
                                  const std::vector<Reference>& tags, const Origin& origin);
  /// Asks StoreOptions::admission whether the image may come in. Blocks, so not under mutex_.
  base::Result<void> admit(const Origin& origin) const;
  base::Result<std::vector<Origin>> origins_locked(std::string_view image_id);

  base::Result<std::set<std::string>> other_chains_locked(std::string_view without_image);
  base::Result<void> check_removable_locked(const std::string& id, const RemoveOptions& options);
  base::Result<void> untag_locked(const std::string& id, const Reference& reference,
                                  std::vector<RemovedItem>& removed);
  base::Result<void> untag_all_locked(const std::string& id, std::vector<RemovedItem>& removed);
  base::Result<void> delete_locked(const std::string& id, const RemoveOptions& options,
                                   std::vector<RemovedItem>& removed);
  base::Result<std::vector<RemovedItem>> remove_locked(std::string_view name,
                                                       const RemoveOptions& options);
  base::Result<std::vector<ImageSummary>> list_locked(const ListFilter& filter);

  const StoreOptions options_;
  const LayerProcess process_;
  std::mutex mutex_;
  LayerFiles files_;
  Catalog catalog_;
  std::multiset<std::string> pins_;  // diff IDs
};

class LocalStore::Pins {
 public:
  explicit Pins(LocalStore& store) : store_(store) {}
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  ~Pins();
  /// mutex_ is held.
  void add_locked(std::string diff_id);

 private:
  LocalStore& store_;
  std::vector<std::string> diff_ids_;
};

base::Error no_such_image(std::string_view name);

/// The origin of an image that comes in by `transport`, named by the first tag if there is one.
Origin origin_of(std::string_view transport, const std::vector<Reference>& tags);

}  // namespace images
