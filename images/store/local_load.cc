#include <algorithm>
#include <array>

#include "images/store/local_store.h"
#include "images/store/streams/decompress.h"
#include "images/store/streams/digest.h"
#include "images/store/transfer/file_source.h"
#include "images/store/values/changes.h"
#include "images/store/values/timestamp.h"

namespace images {

namespace {

constexpr std::size_t kCopyBytes = 256u << 10;
constexpr std::size_t kShortIdLength = 12;

base::Result<Compression> compression_of(FileRange range) {
  std::array<std::byte, 6> first;
  RangeSource source(range.fd, range.offset, range.length);
  auto got = read_fully(source, first);
  if (!got) return std::move(got).error();
  return sniff_compression(std::span(first).first(*got));
}

std::string short_id(std::string_view digest) {
  return std::string(digest.substr(digest.find(':') + 1, kShortIdLength));
}

void say(const LoadObserver& observer, std::string_view line) {
  if (observer.on_line) observer.on_line(line);
}

base::Error wrong_digest(std::string_view what, std::string_view expected, std::string_view got) {
  return {base::Code::kDataLoss, "invalid " + std::string(what) + ": expected \"" +
                                     std::string(expected) + "\", got \"" + std::string(got) +
                                     "\""};
}

}  // namespace

// Copies the stream into the spool file, unless it is in a file already.
base::Result<FileRange> LocalStore::spool_in(ByteSource& source,
                                             const base::UniqueFd& spool) const {
  if (const auto* file = dynamic_cast<const FileSource*>(&source)) {
    if (file->range().length > options_.max_archive_bytes)
      return base::Error{base::Code::kResourceExhausted, "the archive is larger than the limit"};
    return file->range();
  }
  SparseFileSink sink(spool.get());
  std::vector<std::byte> buffer(kCopyBytes);
  std::uint64_t total = 0;
  while (true) {
    auto got = source.read(buffer);
    if (!got) return std::move(got).error();
    if (*got == 0) {
      RETURN_IF_ERROR(sink.finish());
      return FileRange{spool.get(), 0, total};
    }
    total += *got;
    if (total > options_.max_archive_bytes)
      return base::Error{base::Code::kResourceExhausted, "the archive is larger than the limit"};
    RETURN_IF_ERROR(sink.write(std::span(buffer).first(*got)));
  }
}

base::Result<std::optional<LayerRow>> LocalStore::pin_known(std::string_view diff_id, Pins& pins) {
  const std::lock_guard lock(mutex_);
  auto known = catalog_.find_layer(diff_id);
  if (known && *known) pins.add_locked(std::string(diff_id));
  return known;
}

base::Result<LayerRow> LocalStore::publish_layer(LayerFiles::Draft& draft,
                                                 const ConvertedLayer& layer,
                                                 std::string_view blob_digest,
                                                 std::string_view diff_id, Pins& pins) {
  if (!blob_digest.empty() && layer.blob_digest != blob_digest)
    return wrong_digest("layer digest", blob_digest, layer.blob_digest);
  if (!diff_id.empty() && layer.diff_id != diff_id)
    return wrong_digest("diffID", diff_id, layer.diff_id);
  RETURN_IF_ERROR(files_.sync(draft));

  const LayerRow row{.diff_id = layer.diff_id,
                     .image_bytes = layer.image_bytes,
                     .content_bytes = layer.content_bytes,
                     .tar_bytes = layer.tar_bytes};
  const std::lock_guard lock(mutex_);
  auto known = catalog_.find_layer(row.diff_id);
  if (!known) return std::move(known).error();
  if (!*known) {
    auto published = files_.publish(draft, row.diff_id);
    if (published) published = catalog_.put_layer(row);
    if (!published) {
      files_.remove(row.diff_id);
      return std::move(published).error();
    }
  }
  pins.add_locked(row.diff_id);
  return *known ? **std::move(known) : row;
}

// The layer of `blob`, made if it is not there yet. Empty digests are not compared.
base::Result<LayerRow> LocalStore::add_layer(FileRange blob, std::string_view blob_digest,
                                             std::string_view diff_id, Pins& pins,
                                             const LoadObserver& observer, std::stop_token stop) {
  if (!diff_id.empty()) {
    auto known = pin_known(diff_id, pins);
    if (!known) return std::move(known).error();
    if (*known) return **std::move(known);
  }
  auto draft = files_.draft();
  if (!draft) return std::move(draft).error();
  const std::string shown = short_id(diff_id);
  const auto progress = [&](std::uint64_t read) {
    if (observer.on_layer_progress) observer.on_layer_progress(shown, read, blob.length);
  };
  auto layer = process_.convert(blob, draft->image.get(), draft->recipe.get(), options_.limits,
                                progress, std::move(stop));
  if (!layer) return std::move(layer).error();
  return publish_layer(*draft, *layer, blob_digest, diff_id, pins);
}

base::Result<void> LocalStore::commit_image(const ImageRow& image,
                                            const std::vector<std::string>& diff_ids,
                                            const std::vector<Reference>& tags,
                                            const Origin& origin) {
  const std::lock_guard lock(mutex_);
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  if (!image.parent.empty()) {
    const auto parent = catalog_.find_image(image.parent);
    if (!parent) return parent.error();
    if (!*parent) return no_such_image(image.parent);
  }
  RETURN_IF_ERROR(catalog_.put_image(image, diff_ids));
  for (const Reference& tag : tags)
    RETURN_IF_ERROR(catalog_.put_reference(tag, image.id, now_ns()));
  RETURN_IF_ERROR(catalog_.put_origin(image.id, origin));
  return transaction->commit();
}

base::Result<LoadedImage> LocalStore::add_image(const PlannedImage& planned,
                                                const LoadObserver& observer,
                                                const std::stop_token& stop) {
  const Origin origin = origin_of(kArchiveTransport, planned.tags);
  RETURN_IF_ERROR(admit(origin));
  Pins pins(*this);
  for (std::size_t i = 0; i < planned.layers.size(); ++i) {
    auto layer = add_layer(planned.layers[i].blob, planned.layers[i].blob_digest,
                           planned.config.diff_ids[i], pins, observer, stop);
    if (!layer) return base::annotate(std::move(layer), "layer " + std::to_string(i));
  }
  LoadedImage loaded{.id = digest_of(planned.config_json), .repo_tags = {}};
  RETURN_IF_ERROR(commit_image(
      {.id = loaded.id, .config_json = planned.config_json, .parent = {}, .last_tagged_ns = 0},
      planned.config.diff_ids, planned.tags, origin));
  for (const Reference& tag : planned.tags) loaded.repo_tags.push_back(tag.familiar());
  return loaded;
}

base::Result<std::vector<LoadedImage>> LocalStore::load(ByteSource& source,
                                                        const LoadObserver& observer) {
  auto spool = files_.spool();
  if (!spool) return std::move(spool).error();
  auto range = spool_in(source, *spool);
  if (!range) return std::move(range).error();

  base::UniqueFd plain;  // the archive, if it came compressed
  auto compression = compression_of(*range);
  if (!compression) return std::move(compression).error();
  if (*compression != Compression::kNone) {
    auto second = files_.spool();
    if (!second) return std::move(second).error();
    plain = *std::move(second);
    auto bytes =
        process_.decompress(*range, plain.get(), options_.max_archive_bytes, source.stop_token());
    if (!bytes) return std::move(bytes).error();
    spool->reset();
    range = FileRange{plain.get(), 0, *bytes};
  }

  auto archive = Archive::open(*range);
  if (!archive) return std::move(archive).error();
  auto planned = plan_images(*archive);
  if (!planned) return std::move(planned).error();
  std::vector<LoadedImage> loaded;
  for (const PlannedImage& image : *planned) {
    auto added = add_image(image, observer, source.stop_token());
    if (!added) return std::move(added).error();
    for (const std::string& tag : added->repo_tags) say(observer, "Loaded image: " + tag);
    if (added->repo_tags.empty()) say(observer, "Loaded image ID: " + added->id);
    loaded.push_back(*std::move(added));
  }
  return loaded;
}

base::Result<LoadedImage> LocalStore::import(ByteSource& tar, const ImportOptions& options) {
  std::vector<Reference> tags;
  if (!options.repository_and_tag.empty()) {
    auto reference = Reference::parse(options.repository_and_tag);
    if (!reference) return std::move(reference).error();
    if (!reference->digest().empty())
      return base::Error{base::Code::kInvalidArgument, "cannot import digest reference"};
    tags.push_back(reference->with_default_tag());
  }
  const Origin origin = origin_of(kTarballTransport, tags);
  RETURN_IF_ERROR(admit(origin));
  auto defaults = apply_changes(nlohmann::json::object(), options.changes);
  if (!defaults) return std::move(defaults).error();

  auto spool = files_.spool();
  if (!spool) return std::move(spool).error();
  auto range = spool_in(tar, *spool);
  if (!range) return std::move(range).error();
  Pins pins(*this);
  auto layer = add_layer(*range, {}, {}, pins, {}, tar.stop_token());
  if (!layer) return std::move(layer).error();

  const std::string created = format_timestamp(now_ns());
  const std::string comment =
      options.message.empty() ? "Imported from " + options.source : options.message;
  const nlohmann::json config = {
      {"architecture", std::string(host_architecture())},
      {"comment", comment},
      {"config", *defaults},
      {"created", created},
      {"history", nlohmann::json::array({{{"created", created}, {"comment", comment}}})},
      {"os", "linux"},
      {"rootfs", {{"type", "layers"}, {"diff_ids", nlohmann::json::array({layer->diff_id})}}},
  };
  const std::string json = config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  LoadedImage loaded{.id = digest_of(json), .repo_tags = {}};
  RETURN_IF_ERROR(
      commit_image({.id = loaded.id, .config_json = json, .parent = {}, .last_tagged_ns = 0},
                   {layer->diff_id}, tags, origin));
  for (const Reference& tag : tags) loaded.repo_tags.push_back(tag.familiar());
  return loaded;
}

}  // namespace images
