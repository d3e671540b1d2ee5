// Removal with Docker's rules: a name given untags, and the last name takes the image with it; an
// ID given removes the image with all its names, if they are of one repository.

#include <algorithm>

#include "images/store/local_store.h"
#include "images/store/streams/digest.h"

namespace images {

namespace {

constexpr std::size_t kShortIdLength = 12;
constexpr std::string_view kSha256 = "sha256:";

std::string short_id(std::string_view id) {
  if (id.starts_with(kSha256)) id.remove_prefix(kSha256.size());
  return std::string(id.substr(0, kShortIdLength));
}

/// At most one tag, and no name in a second repository.
bool is_single_name(const std::vector<Reference>& references) {
  std::size_t tags = 0;
  for (const Reference& reference : references) {
    if (reference.repository() != references.front().repository()) return false;
    if (reference.digest().empty()) ++tags;
  }
  return tags <= 1;
}

bool is_id_prefix(std::string_view id, std::string_view name) {
  return id.starts_with(name) || id.substr(kSha256.size()).starts_with(name);
}

base::Error conflict(const std::string& id, bool can_force, std::string_view why) {
  return {base::Code::kConflict, "conflict: unable to delete " + short_id(id) + " (" +
                                     (can_force ? "must be forced" : "cannot be forced") + ") - " +
                                     std::string(why)};
}

/// The chain IDs of a stack of layers, lowest first (OCI image spec, config.md).
std::vector<std::string> chain_ids(const std::vector<LayerRow>& layers) {
  std::vector<std::string> chains;
  for (const LayerRow& layer : layers)
    chains.push_back(chains.empty() ? layer.diff_id
                                    : digest_of(chains.back() + " " + layer.diff_id));
  return chains;
}

}  // namespace

// The chain IDs that stay when this image goes.
base::Result<std::set<std::string>> LocalStore::other_chains_locked(
    std::string_view without_image) {
  std::set<std::string> chains;
  const auto add = [&](const std::vector<LayerRow>& layers) {
    for (std::string& chain : chain_ids(layers)) chains.insert(std::move(chain));
  };
  auto images = catalog_.images();
  if (!images) return std::move(images).error();
  for (const ImageRow& image : *images) {
    if (image.id == without_image) continue;
    auto layers = catalog_.layers_of_image(image.id);
    if (!layers) return std::move(layers).error();
    add(*layers);
  }
  auto holders = catalog_.holders();
  if (!holders) return std::move(holders).error();
  for (const Catalog::Holder& holder : *holders) {
    auto layers = catalog_.layers_of_holder(holder.holder);
    if (!layers) return std::move(layers).error();
    if (*layers) add(**layers);
  }
  return chains;
}

base::Result<void> LocalStore::check_removable_locked(const std::string& id,
                                                      const RemoveOptions& options) {
  auto children = catalog_.has_children(id);
  if (!children) return std::move(children).error();
  if (*children) return conflict(id, false, "image has dependent child images");
  auto holders = catalog_.holders();
  if (!holders) return std::move(holders).error();
  std::erase_if(*holders, [&](const Catalog::Holder& h) { return h.image_id != id; });
  for (const Catalog::Holder& holder : *holders)
    if (options.running.contains(holder.holder))
      return conflict(id, false,
                      "image is being used by running container " + short_id(holder.holder));
  if (options.force) return {};
  if (!holders->empty())
    return conflict(
        id, true, "image is being used by stopped container " + short_id(holders->front().holder));
  return {};
}

base::Result<void> LocalStore::untag_locked(const std::string& id, const Reference& reference,
                                            std::vector<RemovedItem>& removed) {
  RETURN_IF_ERROR(catalog_.delete_reference(reference));
  removed.push_back(
      {.kind = RemovedItem::Kind::kUntagged, .name = reference.familiar(), .image_id = id});
  return {};
}

base::Result<void> LocalStore::untag_all_locked(const std::string& id,
                                                std::vector<RemovedItem>& removed) {
  auto references = catalog_.references_of(id);
  if (!references) return std::move(references).error();
  for (const Reference& reference : *references)
    RETURN_IF_ERROR(untag_locked(id, reference, removed));
  return {};
}

// Deletes the image, and then its untagged parents that nothing else needs.
base::Result<void> LocalStore::delete_locked(const std::string& id, const RemoveOptions& options,
                                             std::vector<RemovedItem>& removed) {
  RETURN_IF_ERROR(check_removable_locked(id, options));
  auto image = catalog_.find_image(id);
  if (!image) return std::move(image).error();
  if (!*image) return no_such_image(id);
  auto layers = catalog_.layers_of_image(id);
  if (!layers) return std::move(layers).error();
  auto staying = other_chains_locked(id);
  if (!staying) return std::move(staying).error();

  RETURN_IF_ERROR(untag_all_locked(id, removed));
  RETURN_IF_ERROR(catalog_.delete_image(id));
  removed.push_back({.kind = RemovedItem::Kind::kDeleted, .name = id, .image_id = id});
  std::vector<std::string> chains = chain_ids(*layers);
  for (auto chain = chains.rbegin(); chain != chains.rend(); ++chain)
    if (!staying->contains(*chain))
      removed.push_back({.kind = RemovedItem::Kind::kDeleted, .name = *chain, .image_id = {}});

  const std::string& parent = (*image)->parent;
  if (!options.prune_parents || parent.empty()) return {};
  auto names = catalog_.references_of(parent);
  if (!names) return std::move(names).error();
  if (!names->empty() || !check_removable_locked(parent, {})) return {};
  auto exists = catalog_.find_image(parent);
  if (!exists) return std::move(exists).error();
  return *exists ? delete_locked(parent, {}, removed) : base::Result<void>();
}

base::Result<std::vector<RemovedItem>> LocalStore::remove_locked(std::string_view name,
                                                                 const RemoveOptions& options) {
  auto found = resolve_id_locked(name);
  if (!found) return std::move(found).error();
  const std::string id = *std::move(found);
  auto references = catalog_.references_of(id);
  if (!references) return std::move(references).error();
  std::vector<RemovedItem> removed;

  if (is_id_prefix(id, name)) {
    if (!is_single_name(*references) && !options.force) {
      RETURN_IF_ERROR(check_removable_locked(
          id, {.force = true, .prune_parents = false, .running = options.running}));
      return conflict(id, true, "image is referenced in multiple repositories");
    }
    RETURN_IF_ERROR(delete_locked(id, options, removed));
    return removed;
  }

  auto reference = Reference::parse(name);
  if (!reference) return std::move(reference).error();
  *reference = reference->with_default_tag();
  if (!options.force && is_single_name(*references)) {
    auto holders = catalog_.holders();
    if (!holders) return std::move(holders).error();
    for (const Catalog::Holder& holder : *holders)
      if (holder.image_id == id)
        return base::Error{base::Code::kConflict,
                           "conflict: unable to remove repository reference \"" +
                               std::string(name) + "\" (must force) - container " +
                               short_id(holder.holder) + " is using its referenced image " +
                               short_id(id)};
  }
  RETURN_IF_ERROR(untag_locked(id, *reference, removed));
  std::erase_if(*references,
                [&](const Reference& r) { return r.familiar() == reference->familiar(); });
  // Digests name the image only together with a tag of their repository.
  const auto same_repository = [&](const Reference& r) {
    return r.repository() == reference->repository();
  };
  const bool tag_left =
      std::any_of(references->begin(), references->end(),
                  [&](const Reference& r) { return same_repository(r) && r.digest().empty(); });
  if (reference->digest().empty() && !tag_left) {
    for (const Reference& other : *references)
      if (same_repository(other)) RETURN_IF_ERROR(untag_locked(id, other, removed));
    std::erase_if(*references, same_repository);
  }
  if (!references->empty()) return removed;
  // Without its last name the image goes too, unless something still needs it.
  if (!check_removable_locked(id, options)) return removed;
  RETURN_IF_ERROR(delete_locked(id, options, removed));
  return removed;
}

base::Result<std::vector<RemovedItem>> LocalStore::remove(std::string_view name,
                                                          const RemoveOptions& options) {
  const std::lock_guard lock(mutex_);
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  auto removed = remove_locked(name, options);
  if (!removed) return removed;
  RETURN_IF_ERROR(transaction->commit());
  RETURN_IF_ERROR(drop_unused_layers_locked());
  return removed;
}

base::Result<PruneReport> LocalStore::prune(const PruneOptions& options) {
  const std::lock_guard lock(mutex_);
  ListFilter filter = options.filter;
  filter.all = true;
  if (options.dangling_only) filter.dangling = true;
  auto candidates = list_locked(filter);
  if (!candidates) return std::move(candidates).error();
  auto before = catalog_.layer_ids();
  if (!before) return std::move(before).error();

  PruneReport report;
  auto transaction = catalog_.begin();
  if (!transaction) return std::move(transaction).error();
  for (const ImageSummary& candidate : *candidates) {
    auto present = catalog_.find_image(candidate.id);
    if (!present) return std::move(present).error();
    const RemoveOptions remove{.force = false, .prune_parents = true, .running = options.running};
    if (!*present || candidate.containers > 0) continue;
    if (!check_removable_locked(candidate.id, remove)) continue;
    RETURN_IF_ERROR(delete_locked(candidate.id, remove, report.removed));
  }
  RETURN_IF_ERROR(transaction->commit());

  std::uint64_t bytes_before = 0;
  for (const std::string& diff_id : *before) bytes_before += files_.allocated_bytes(diff_id);
  RETURN_IF_ERROR(drop_unused_layers_locked());
  std::uint64_t bytes_after = 0;
  for (const std::string& diff_id : *before) bytes_after += files_.allocated_bytes(diff_id);
  report.reclaimed_bytes = bytes_before - bytes_after;
  return report;
}

}  // namespace images
