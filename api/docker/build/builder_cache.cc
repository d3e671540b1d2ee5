// Builder: the build cache, which is the images that are here.
#include "api/docker/build/builder.h"
#include "api/docker/build/cache.h"
#include "images/store/values/timestamp.h"

namespace docker::build {

using base::Result;
using nlohmann::json;

net::awaitable<Result<std::set<std::string>>> Builder::cache_sources() {
  std::set<std::string> ids;
  for (const std::string& name : options_.cache_from) {
    auto image = co_await resolve(name);
    while (image && ids.insert(image->id).second && !image->parent.empty()) {
      const std::string parent = image->parent;
      image = co_await resolve(parent);
    }
  }
  co_return ids;
}

net::awaitable<Result<bool>> Builder::is_cached(json config) {
  if (options_.no_cache || state_.misses_cache) co_return false;
  const std::function<Result<std::vector<images::Image>>()> call =
      [&store = api_.images, parent = state_.image_id] { return store.children(parent); };
  const auto children = co_await api_.threads.pool.run(call);
  if (!children) co_return children.error();
  std::set<std::string> sources;
  if (options_.limits_cache) {
    auto found = co_await cache_sources();
    if (!found) co_return std::move(found).error();
    sources = *std::move(found);
  }
  const images::Image* newest = nullptr;
  std::int64_t newest_time = 0;
  for (const images::Image& child : *children) {
    if (options_.limits_cache && !sources.contains(child.id)) continue;
    const json raw = json::parse(child.config_json, nullptr, false);
    if (!raw.is_object() || !asks_the_same(raw.value("container_config", json()), config)) continue;
    const std::int64_t created = images::parse_timestamp(child.config.created).value_or(0);
    if (newest != nullptr && created < newest_time) continue;
    newest = &child;
    newest_time = created;
  }
  state_.misses_cache = newest == nullptr;
  if (newest == nullptr) co_return false;
  output_->stream(" ---> Using cache\n");
  state_.image_id = newest->id;
  co_return true;
}

}  // namespace docker::build
