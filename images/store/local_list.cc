#include <algorithm>

#include "images/store/local_store.h"
#include "images/store/values/timestamp.h"

namespace images {

namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

/// What a list filter looks at.
struct Candidate {
  ImageSummary summary;
  std::vector<Reference> references;
  std::int64_t created_ns = 0;
  bool has_children = false;
};

/// "key" or "key=value"
bool has_label(const std::map<std::string, std::string>& labels, const std::string& condition) {
  const std::size_t equals = condition.find('=');
  const auto found = labels.find(condition.substr(0, equals));
  if (found == labels.end()) return false;
  return equals == std::string::npos || found->second == condition.substr(equals + 1);
}

bool matches_labels(const ListFilter& filter, const std::map<std::string, std::string>& labels) {
  const auto here = [&](const std::string& condition) { return has_label(labels, condition); };
  return std::all_of(filter.labels.begin(), filter.labels.end(), here) &&
         std::none_of(filter.without_labels.begin(), filter.without_labels.end(), here);
}

/// With patterns, an image shows only the names that match.
void keep_matching_names(const ListFilter& filter, Candidate& candidate) {
  if (filter.references.empty()) return;
  std::erase_if(candidate.references, [&](const Reference& reference) {
    const bool digest = !reference.digest().empty();
    return std::none_of(
        filter.references.begin(), filter.references.end(), [&](const std::string& pattern) {
          return matches_pattern(pattern, reference.familiar_repository(),
                                 digest ? reference.digest() : reference.tag(), digest);
        });
  });
}

bool passes(const ListFilter& filter, const Candidate& candidate, bool was_dangling) {
  if (!filter.references.empty() && candidate.references.empty()) return false;
  if (filter.dangling && *filter.dangling != was_dangling) return false;
  if (!filter.all && was_dangling && candidate.has_children) return false;
  if (filter.until_seconds && candidate.created_ns >= *filter.until_seconds * kNanosecondsPerSecond)
    return false;
  return matches_labels(filter, candidate.summary.labels);
}

}  // namespace

base::Result<std::vector<ImageSummary>> LocalStore::list_locked(const ListFilter& filter) {
  const auto created_of = [&](const std::string& name) -> base::Result<std::int64_t> {
    auto id = resolve_id_locked(name);
    if (!id) return std::move(id).error();
    auto image = image_locked(*id);
    if (!image) return std::move(image).error();
    return parse_timestamp(image->config.created).value_or(0);
  };
  std::optional<std::int64_t> before;
  std::optional<std::int64_t> since;
  for (const auto& [name, bound] : {std::pair{&filter.before, &before}, {&filter.since, &since}}) {
    if (!*name) continue;
    auto created = created_of(**name);
    if (!created) return std::move(created).error();
    *bound = *created;
  }

  auto rows = catalog_.images();
  if (!rows) return std::move(rows).error();
  auto holders = catalog_.holders();
  if (!holders) return std::move(holders).error();
  std::vector<Candidate> chosen;
  for (const ImageRow& row : *rows) {
    auto image = image_locked(row.id);
    // One whose configuration is damaged is listed, too, so that it can be removed: nothing is
    // known of it but its names. Whatever else is done with it says what is wrong.
    if (!image && parse_image_config(row.config_json)) return std::move(image).error();
    if (!image) image = Image();
    auto references = catalog_.references_of(row.id);
    if (!references) return std::move(references).error();
    auto children = catalog_.has_children(row.id);
    if (!children) return std::move(children).error();

    Candidate candidate;
    candidate.references = *std::move(references);
    candidate.created_ns = parse_timestamp(image->config.created).value_or(0);
    candidate.has_children = *children;
    candidate.summary = {.id = row.id,
                         .parent = row.parent,
                         .created_seconds = candidate.created_ns / kNanosecondsPerSecond,
                         .size = image->size,
                         .repo_tags = {},
                         .repo_digests = {},
                         .labels = image->config.defaults.labels,
                         .containers = static_cast<std::uint64_t>(std::count_if(
                             holders->begin(), holders->end(),
                             [&](const Catalog::Holder& h) { return h.image_id == row.id; }))};
    const bool dangling = candidate.references.empty();
    keep_matching_names(filter, candidate);
    if (!passes(filter, candidate, dangling)) continue;
    if (before && candidate.created_ns >= *before) continue;
    if (since && candidate.created_ns <= *since) continue;
    for (const Reference& reference : candidate.references)
      (reference.digest().empty() ? candidate.summary.repo_tags : candidate.summary.repo_digests)
          .push_back(reference.familiar());
    chosen.push_back(std::move(candidate));
  }

  std::stable_sort(chosen.begin(), chosen.end(), [](const Candidate& a, const Candidate& b) {
    return a.created_ns > b.created_ns;
  });
  std::vector<ImageSummary> summaries;
  for (Candidate& candidate : chosen) summaries.push_back(std::move(candidate.summary));
  return summaries;
}

base::Result<std::vector<ImageSummary>> LocalStore::list(const ListFilter& filter) {
  const std::lock_guard lock(mutex_);
  return list_locked(filter);
}

base::Result<DiskUsage> LocalStore::disk_usage() {
  const std::lock_guard lock(mutex_);
  DiskUsage usage;
  ListFilter everything;
  everything.all = true;
  auto summaries = list_locked(everything);
  if (!summaries) return std::move(summaries).error();
  usage.images = *std::move(summaries);
  auto layers = catalog_.layer_ids();
  if (!layers) return std::move(layers).error();
  for (const std::string& diff_id : *layers) usage.layers_bytes += files_.allocated_bytes(diff_id);
  return usage;
}

}  // namespace images
