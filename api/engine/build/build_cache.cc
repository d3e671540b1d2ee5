#include "api/engine/build/build_cache.h"

#include <functional>

#include "api/engine/build/cached_config.h"
#include "images/store/values/timestamp.h"

namespace engine::build {

using base::Result;
using nlohmann::json;

/// The images that the cache is limited to.
net::awaitable<Result<std::set<std::string>>> BuildCache::sources() {
  std::set<std::string> ids;
  for (const std::string& name : session_.options.cache_from) {
    auto image = co_await resolve_image(session_, name);
    while (image && ids.insert(image->id).second && !image->parent.empty()) {
      const std::string parent = image->parent;
      image = co_await resolve_image(session_, parent);
    }
  }
  co_return ids;
}

net::awaitable<Result<std::optional<std::string>>> BuildCache::find(std::string parent,
                                                                    json config) {
  if (session_.options.no_cache || misses_) co_return std::optional<std::string>();
  const std::function<Result<std::vector<images::Image>>()> call =
      [&store = session_.parts.images, parent] { return store.children(parent); };
  const auto children = co_await session_.parts.pool.run(call);
  if (!children) co_return children.error();
  std::set<std::string> sources_found;
  const bool limited = !session_.options.cache_from.empty();
  if (limited) {
    auto found = co_await sources();
    if (!found) co_return std::move(found).error();
    sources_found = *std::move(found);
  }
  const images::Image* newest = nullptr;
  std::int64_t newest_time = 0;
  for (const images::Image& child : *children) {
    if (limited && !sources_found.contains(child.id)) continue;
    const json raw = json::parse(child.config_json, nullptr, false);
    if (!raw.is_object() || !asks_the_same(raw.value("container_config", json()), config)) continue;
    const std::int64_t created = images::parse_timestamp(child.config.created).value_or(0);
    if (newest != nullptr && created < newest_time) continue;
    newest = &child;
    newest_time = created;
  }
  misses_ = newest == nullptr;
  if (newest == nullptr) co_return std::optional<std::string>();
  co_return std::optional<std::string>(newest->id);
}

}  // namespace engine::build
