// Commit: a container's changes become a layer on top of its image's.
#include <nlohmann/json.hpp>

#include "images/store/local_store.h"
#include "images/store/streams/digest.h"
#include "images/store/values/json.h"
#include "images/store/values/timestamp.h"

namespace images {

namespace {

using nlohmann::json;

/// Of a tar archive without entries: 1024 zero bytes.
constexpr std::string_view kEmptyLayer =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

base::Result<std::vector<Reference>> tags_of(const std::string& name) {
  if (name.empty()) return std::vector<Reference>();
  auto reference = Reference::parse(name);
  if (!reference) return std::move(reference).error();
  if (!reference->digest().empty())
    return base::Error{base::Code::kInvalidArgument, "cannot import digest reference"};
  return std::vector<Reference>{reference->with_default_tag()};
}

json history_entry(const CommitOptions& options, const std::string& created, bool empty_layer) {
  json entry{{"created", created}};
  if (!options.created_by.empty()) entry["created_by"] = options.created_by;
  if (!options.author.empty()) entry["author"] = options.author;
  if (!options.comment.empty()) entry["comment"] = options.comment;
  if (empty_layer) entry["empty_layer"] = true;
  return entry;
}

/// The new image's configuration. What the parent says of its platform holds for the child.
base::Result<std::string> child_config(const ImageRow& parent, const CommitOptions& options,
                                       const std::vector<std::string>& diff_ids, bool empty_layer) {
  const std::string parent_json = parent.id.empty() ? "{}" : parent.config_json;
  const auto old = parse_json(parent_json, "invalid image configuration");
  if (!old) return old.error();
  const auto config = parse_json(options.config, "invalid configuration");
  if (!config) return config.error();
  const auto container_config = parse_json(options.container_config, "invalid configuration");
  if (!container_config) return container_config.error();

  const std::string created = format_timestamp(now_ns());
  json image{{"architecture", std::string(host_architecture())}, {"os", "linux"}};
  for (const char* field : {"architecture", "os", "variant", "os.version", "os.features"})
    if (const auto found = old->find(field); found != old->end()) image[field] = *found;
  json history = old->value("history", json());
  if (!history.is_array()) history = json::array();
  history.push_back(history_entry(options, created, empty_layer));
  image.update({{"config", *config},
                {"container_config", *container_config},
                {"created", created},
                {"history", std::move(history)},
                {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}});
  if (!options.container.empty()) image["container"] = options.container;
  if (!options.author.empty()) image["author"] = options.author;
  if (!options.comment.empty()) image["comment"] = options.comment;
  std::string text = image.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kMaxConfigBytes)
    return base::Error{base::Code::kResourceExhausted,
                       "the image's configuration is larger than the limit"};
  return text;
}

}  // namespace

// The parent, whose layers stay until `pins` goes.
base::Result<ImageRow> LocalStore::pin_parent(const std::string& id, Pins& pins) {
  const std::lock_guard lock(mutex_);
  auto parent = catalog_.find_image(id);
  if (!parent) return std::move(parent).error();
  if (!*parent) return no_such_image(id);
  auto layers = catalog_.layers_of_image(id);
  if (!layers) return std::move(layers).error();
  for (const LayerRow& layer : *layers) pins.add_locked(layer.diff_id);
  return **std::move(parent);
}

base::Result<std::optional<std::string>> LocalStore::layer_of(ByteSource& stream, Pins& pins) {
  auto spool = files_.spool();
  if (!spool) return std::move(spool).error();
  const auto range = spool_in(stream, *spool);
  if (!range) return range.error();
  const auto layer = add_layer(*range, {}, {}, pins, {}, stream.stop_token());
  if (!layer) return base::annotate(layer.error(), "commit");
  if (layer->diff_id == kEmptyLayer) return std::optional<std::string>();
  return std::optional<std::string>(layer->diff_id);
}

base::Result<LoadedImage> LocalStore::commit(ByteSource& stream, const CommitOptions& options) {
  auto tags = tags_of(options.repository_and_tag);
  if (!tags) return std::move(tags).error();
  const Origin origin = origin_of(kLocalTransport, *tags);
  RETURN_IF_ERROR(admit(origin));
  Pins pins(*this);
  ImageRow parent;
  std::vector<std::string> diff_ids;
  if (!options.parent.empty()) {
    auto pinned = pin_parent(options.parent, pins);
    if (!pinned) return std::move(pinned).error();
    parent = *std::move(pinned);
    auto parent_config = parse_image_config(parent.config_json);
    if (!parent_config) return base::annotate(std::move(parent_config), options.parent);
    diff_ids = std::move(parent_config->diff_ids);
  }
  if (!options.without_layer && diff_ids.size() >= kMaxLayers)
    return base::Error{base::Code::kNotSupported, "max depth exceeded: an image has at most " +
                                                      std::to_string(kMaxLayers) + " layers"};

  std::optional<std::string> added;
  if (!options.without_layer) {
    auto layer = layer_of(stream, pins);
    if (!layer) return std::move(layer).error();
    added = *std::move(layer);
  }
  if (added) diff_ids.push_back(*added);

  auto config = child_config(parent, options, diff_ids, !added);
  if (!config) return std::move(config).error();
  LoadedImage made{.id = digest_of(*config), .repo_tags = {}};
  RETURN_IF_ERROR(commit_image({.id = made.id,
                                .config_json = *std::move(config),
                                .parent = options.parent,
                                .last_tagged_ns = 0},
                               diff_ids, *tags, origin));
  for (const Reference& tag : *tags) made.repo_tags.push_back(tag.familiar());
  return made;
}

base::Result<std::vector<Image>> LocalStore::children(std::string_view parent) {
  const std::lock_guard lock(mutex_);
  auto ids = catalog_.children(parent);
  if (!ids) return std::move(ids).error();
  std::vector<Image> found;
  for (const std::string& id : *ids) {
    auto image = image_locked(id);
    if (!image) return std::move(image).error();
    found.push_back(*std::move(image));
  }
  return found;
}

base::Result<std::uint64_t> LocalStore::decompress(int in, std::uint64_t offset,
                                                   std::uint64_t bytes, int out,
                                                   std::stop_token stop) {
  return process_.decompress(FileRange{in, offset, bytes}, out, options_.max_archive_bytes,
                             std::move(stop));
}

}  // namespace images
