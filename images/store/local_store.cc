#include "images/store/local_store.h"

#include <algorithm>
#include <chrono>

#include "images/store/values/timestamp.h"

namespace images {

namespace {

constexpr std::string_view kSha256 = "sha256:";

bool is_tenant_name(std::string_view name) {
  const auto is_word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 64 && is_word(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_word(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

base::Error no_such_image(std::string_view name) {
  auto reference = Reference::parse(name);
  const std::string shown =
      reference ? reference->with_default_tag().familiar() : std::string(name);
  return {base::Code::kNotFound, "No such image: " + shown};
}

Origin origin_of(std::string_view transport, const std::vector<Reference>& tags) {
  return {.transport = std::string(transport),
          .reference = tags.empty() ? "" : tags.front().repository() + ":" + tags.front().tag(),
          .manifest_digests = {},
          .signatures = {}};
}

base::Result<std::unique_ptr<Store>> Store::open(StoreOptions options) {
  if (!is_tenant_name(options.tenant))
    return base::Error{base::Code::kInvalidArgument, "bad tenant name: " + options.tenant};
  auto files = LayerFiles::open(options.root, options.tenant);
  if (!files) return base::annotate(std::move(files), "open image store");
  auto catalog = Catalog::open(options.root + "/images.db", options.tenant);
  if (!catalog) return base::annotate(std::move(catalog), "open image store");
  auto store =
      std::make_unique<LocalStore>(std::move(options), *std::move(files), *std::move(catalog));
  if (auto recovered = store->recover(); !recovered)
    return base::annotate(std::move(recovered), "open image store");
  return std::unique_ptr<Store>(std::move(store));
}

base::Result<void> LocalStore::recover() {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(drop_unused_layers_locked());
  auto known = catalog_.layer_ids();
  if (!known) return std::move(known).error();
  return files_.remove_unknown(*known);
}

base::Result<void> LocalStore::drop_unused_layers_locked() {
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  auto dropped = catalog_.drop_unused_layers(pins_);
  if (!dropped) return std::move(dropped).error();
  RETURN_IF_ERROR(transaction->commit());
  for (const std::string& diff_id : *dropped) files_.remove(diff_id);
  return {};
}

LocalStore::Pins::~Pins() {
  const std::lock_guard lock(store_.mutex_);
  for (const std::string& diff_id : diff_ids_) store_.pins_.erase(store_.pins_.find(diff_id));
  // A failed load leaves layers that nobody has; if they cannot be dropped now, open() does it.
  (void)store_.drop_unused_layers_locked();
}

void LocalStore::Pins::add_locked(std::string diff_id) {
  store_.pins_.insert(diff_id);
  diff_ids_.push_back(std::move(diff_id));
}

LayerFile LocalStore::layer_file(const LayerRow& row) const {
  return {.path = files_.image_path(row.diff_id),
          .bytes = row.image_bytes,
          .diff_id = row.diff_id,
          .content_bytes = row.content_bytes};
}

// A name means, in this order: a tag or digest reference, a whole ID, a unique beginning of an ID.
base::Result<std::string> LocalStore::resolve_id_locked(std::string_view name) {
  const bool is_id = is_sha256_digest(name) || (name.size() == 64 && is_hex(name));
  if (!is_id) {
    // "sha256:ab12" is an abbreviated ID, and also a valid name: the ID is tried below.
    auto reference = Reference::parse(name);
    const bool abbreviated = name.starts_with(kSha256) && is_hex(name.substr(kSha256.size()));
    if (!reference && !abbreviated) return std::move(reference).error();
    if (reference) {
      auto found = catalog_.find_reference(reference->with_default_tag());
      if (!found) return std::move(found).error();
      if (*found) return **std::move(found);
    }
  }
  std::string prefix(name);
  if (!name.starts_with(kSha256)) prefix.insert(0, kSha256);
  if (prefix.size() > kSha256.size() && is_hex(std::string_view(prefix).substr(kSha256.size()))) {
    auto ids = catalog_.image_ids_like(prefix);
    if (!ids) return std::move(ids).error();
    if (ids->size() == 1) return std::move(ids->front());
  }
  return no_such_image(name);
}

base::Result<Image> LocalStore::image_locked(const std::string& id) {
  auto row = catalog_.find_image(id);
  if (!row) return std::move(row).error();
  if (!*row) return no_such_image(id);
  auto config = parse_image_config((*row)->config_json);
  if (!config) return base::annotate(std::move(config), id);
  auto layers = catalog_.layers_of_image(id);
  if (!layers) return std::move(layers).error();
  auto references = catalog_.references_of(id);
  if (!references) return std::move(references).error();

  Image image;
  image.id = id;
  image.config = *std::move(config);
  image.config_json = std::move((*row)->config_json);
  image.parent = std::move((*row)->parent);
  image.last_tagged_ns = (*row)->last_tagged_ns;
  for (const LayerRow& layer : *layers) {
    image.layers.push_back(layer_file(layer));
    image.size += layer.content_bytes;
  }
  for (const Reference& reference : *references)
    (reference.digest().empty() ? image.repo_tags : image.repo_digests)
        .push_back(reference.familiar());
  return image;
}

base::Result<Image> LocalStore::resolve(std::string_view name) {
  const std::lock_guard lock(mutex_);
  auto id = resolve_id_locked(name);
  if (!id) return std::move(id).error();
  return image_locked(*id);
}

base::Result<std::string> LocalStore::tag(std::string_view source, std::string_view target) {
  auto reference = Reference::parse(target);
  if (!reference)
    return base::annotate(
        std::move(reference),
        "Error parsing reference: \"" + std::string(target) + "\" is not a valid repository/tag");
  if (!reference->digest().empty())
    return base::Error{base::Code::kInvalidArgument,
                       "refusing to create a tag with a digest reference"};
  const std::lock_guard lock(mutex_);
  auto id = resolve_id_locked(source);
  if (!id) return id;
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  RETURN_IF_ERROR(catalog_.put_reference(reference->with_default_tag(), *id, now_ns()));
  RETURN_IF_ERROR(transaction->commit());
  return id;
}

base::Result<Image> LocalStore::hold(std::string_view holder, std::string_view image_id) {
  const std::lock_guard lock(mutex_);
  auto image = image_locked(std::string(image_id));
  if (!image) return image;
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  RETURN_IF_ERROR(catalog_.put_holder(holder, image_id));
  RETURN_IF_ERROR(transaction->commit());
  return image;
}

base::Result<std::vector<LayerFile>> LocalStore::held_layers(std::string_view holder) {
  const std::lock_guard lock(mutex_);
  auto rows = catalog_.layers_of_holder(holder);
  if (!rows) return std::move(rows).error();
  if (!*rows) return base::Error{base::Code::kNotFound, std::string(holder) + " holds no image"};
  std::vector<LayerFile> layers;
  for (const LayerRow& row : **rows) layers.push_back(layer_file(row));
  return layers;
}

base::Result<void> LocalStore::release(std::string_view holder) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(catalog_.delete_holder(holder));
  return drop_unused_layers_locked();
}

base::Result<void> LocalStore::retain_only(const std::set<std::string>& holders) {
  const std::lock_guard lock(mutex_);
  auto known = catalog_.holders();
  if (!known) return std::move(known).error();
  for (const Catalog::Holder& holder : *known)
    if (!holders.contains(holder.holder)) RETURN_IF_ERROR(catalog_.delete_holder(holder.holder));
  return drop_unused_layers_locked();
}

base::Result<void> LocalStore::admit(const Origin& origin) const {
  if (!options_.admission) return {};
  return options_.admission->admit(origin);
}

// For an image without a record of its origin, its tags here count as the origin.
base::Result<std::vector<Origin>> LocalStore::origins_locked(std::string_view image_id) {
  auto origins = catalog_.origins_of(image_id);
  if (!origins || !origins->empty()) return origins;
  auto names = catalog_.references_of(image_id);
  if (!names) return std::move(names).error();
  std::erase_if(*names, [](const Reference& name) { return name.tag().empty(); });
  origins->push_back(origin_of(kLocalTransport, *names));
  return origins;
}

// An image's ID stands for its bytes, so one accepted way to get them is enough.
base::Result<void> LocalStore::may_run(std::string_view image_id) {
  if (!options_.admission) return {};
  base::Result<std::vector<Origin>> origins = std::vector<Origin>();
  {
    const std::lock_guard lock(mutex_);
    origins = origins_locked(image_id);
  }
  if (!origins) return std::move(origins).error();
  base::Result<void> admitted;
  for (const Origin& origin : *origins) {
    admitted = admit(origin);
    if (admitted) return admitted;
  }
  return admitted;
}

}  // namespace images
