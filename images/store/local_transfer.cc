// Arrivals and departures: how a registry's images come in and go out, piece by piece.

#include <algorithm>

#include "images/store/local_store.h"
#include "images/store/streams/digest.h"
#include "images/store/values/timestamp.h"

namespace images {

class LocalStore::LocalArrival : public Arrival {
 public:
  explicit LocalArrival(LocalStore& store) : store_(store), pins_(store) {}

  base::Result<bool> has_layer(std::string_view diff_id) override {
    auto known = store_.pin_known(diff_id, pins_);
    if (!known) return std::move(known).error();
    return known->has_value();
  }

  base::Result<void> add_layer(ByteSource& blob, std::string_view blob_digest,
                               std::string_view diff_id) override {
    auto draft = store_.files_.draft();
    if (!draft) return std::move(draft).error();
    const LayerLimits& limits = store_.options_.limits;
    auto layer = store_.process_.convert_stream(blob, limits.tar_bytes, draft->image.get(),
                                                draft->recipe.get(), limits);
    if (!layer) return std::move(layer).error();
    auto row = store_.publish_layer(*draft, *layer, blob_digest, diff_id, pins_);
    if (!row) return std::move(row).error();
    return {};
  }

  base::Result<std::string> commit(const ArrivedImage& image) override {
    auto config = parse_image_config(image.config_json);
    if (!config) return std::move(config).error();
    RETURN_IF_ERROR(check_platform(config->os, config->architecture));
    if (config->diff_ids.size() != image.blobs.size())
      return base::Error{base::Code::kInvalidArgument,
                         "the image has another number of layers than its configuration says"};
    RETURN_IF_ERROR(store_.admit(image.origin));
    std::string id = digest_of(image.config_json);
    RETURN_IF_ERROR(store_.commit_image(
        {.id = id, .config_json = image.config_json, .parent = {}, .last_tagged_ns = 0},
        config->diff_ids, image.names, image.origin));
    (void)remember(image, config->diff_ids);  // without it a push asks the registry
    return id;
  }

 private:
  /// Records the forms in which the repository has the layers, which makes pushes faster.
  base::Result<void> remember(const ArrivedImage& image, const std::vector<std::string>& diff_ids) {
    const std::lock_guard lock(store_.mutex_);
    auto transaction = store_.catalog_.begin();
    if (!transaction) return std::move(transaction).error();
    for (std::size_t i = 0; i < diff_ids.size(); ++i)
      RETURN_IF_ERROR(
          store_.catalog_.put_blob(diff_ids[i], image.repository, image.blobs[i], now_ns()));
    return transaction->commit();
  }

  LocalStore& store_;
  Pins pins_;
};

class LocalStore::LocalDeparture : public Departure {
 public:
  explicit LocalDeparture(LocalStore& store) : store_(store), pins_(store) {}

  base::Result<void> begin(std::string_view name) {
    const std::lock_guard lock(store_.mutex_);
    auto id = store_.resolve_id_locked(name);
    if (!id) return std::move(id).error();
    auto image = store_.catalog_.find_image(*id);
    if (!image) return std::move(image).error();
    if (!*image) return no_such_image(name);
    auto rows = store_.catalog_.layers_of_image(*id);
    if (!rows) return std::move(rows).error();
    id_ = *std::move(id);
    config_json_ = (*image)->config_json;
    rows_ = *std::move(rows);
    for (const LayerRow& row : rows_) {
      pins_.add_locked(row.diff_id);
      layers_.push_back({row.diff_id, row.tar_bytes});
    }
    return {};
  }

  const std::string& image_id() const override { return id_; }
  const std::string& config_json() const override { return config_json_; }
  const std::vector<DepartingLayer>& layers() const override { return layers_; }

  base::Result<void> write_layer(std::size_t index, ByteSink& sink) override {
    return store_.write_tar(rows_.at(index), sink);
  }

  base::Result<std::vector<RemoteBlob>> known_blobs(std::size_t index,
                                                    std::string_view repository) override {
    auto rows = blobs_of(index);
    if (!rows) return std::move(rows).error();
    std::vector<RemoteBlob> blobs;
    for (Catalog::BlobRow& row : *rows)
      if (row.repository == repository) blobs.push_back(std::move(row.blob));
    return blobs;
  }

  base::Result<std::vector<KnownElsewhere>> known_elsewhere(std::size_t index,
                                                            const Reference& repository) override {
    auto rows = blobs_of(index);
    if (!rows) return std::move(rows).error();
    std::vector<KnownElsewhere> blobs;
    for (Catalog::BlobRow& row : *rows)
      if (row.repository != repository.repository() &&
          row.repository.starts_with(repository.domain() + "/"))
        blobs.push_back({std::move(row.repository), std::move(row.blob)});
    return blobs;
  }

  base::Result<void> remember_blob(std::size_t index, std::string_view repository,
                                   const RemoteBlob& blob) override {
    const std::lock_guard lock(store_.mutex_);
    auto transaction = store_.catalog_.begin();
    if (!transaction) return std::move(transaction).error();
    RETURN_IF_ERROR(store_.catalog_.put_blob(rows_.at(index).diff_id, repository, blob, now_ns()));
    return transaction->commit();
  }

  base::Result<void> remember_name(const Reference& name) override {
    const std::lock_guard lock(store_.mutex_);
    auto transaction = store_.catalog_.begin();
    if (!transaction) return std::move(transaction).error();
    auto image = store_.catalog_.find_image(id_);
    if (!image) return std::move(image).error();
    if (!*image) return {};  // removed meanwhile: there is nothing to name
    RETURN_IF_ERROR(store_.catalog_.put_reference(name, id_, (*image)->last_tagged_ns));
    return transaction->commit();
  }

 private:
  base::Result<std::vector<Catalog::BlobRow>> blobs_of(std::size_t index) {
    const std::lock_guard lock(store_.mutex_);
    return store_.catalog_.blobs_of(rows_.at(index).diff_id);
  }

  LocalStore& store_;
  Pins pins_;
  std::string id_;
  std::string config_json_;
  std::vector<LayerRow> rows_;
  std::vector<DepartingLayer> layers_;
};

base::Result<std::unique_ptr<Arrival>> LocalStore::begin_arrival() {
  return std::unique_ptr<Arrival>(std::make_unique<LocalArrival>(*this));
}

base::Result<std::unique_ptr<Departure>> LocalStore::begin_departure(std::string_view name) {
  auto departure = std::make_unique<LocalDeparture>(*this);
  RETURN_IF_ERROR(departure->begin(name));
  return std::unique_ptr<Departure>(std::move(departure));
}

base::Result<std::vector<Reference>> LocalStore::names_in(std::string_view repository) {
  const std::lock_guard lock(mutex_);
  return catalog_.references_in(repository);
}

}  // namespace images
