#include "api/engine/containers/container_storage.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <functional>
#include <system_error>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

ContainerStorage::ContainerStorage(Parts parts)
    : parts_(std::move(parts)), logs_(parts_.executor) {}

ContainerPtr ContainerStorage::new_container(std::string id) const {
  return std::make_shared<Container>(parts_.executor, std::move(id));
}

void ContainerStorage::place(Container& container) {
  container.storage.directory = parts_.directory / container.id;
  expect_run(container, parts_.executor);
  logs_.open(container);
}

Result<void> ContainerStorage::check_directory(const std::string& id) const {
  std::error_code error;
  const auto directory = parts_.directory / id;
  if (std::filesystem::is_directory(directory, error)) return {};
  return Error{Code::kNotFound, "its directory " + directory.string() + " is gone"};
}

net::awaitable<Result<images::Image>> ContainerStorage::resolve(std::string image) {
  const std::function<Result<images::Image>()> resolve =
      [&store = parts_.images, name = std::move(image)]() -> Result<images::Image> {
    auto found = store.resolve(name);
    if (found) RETURN_IF_ERROR(store.may_run(found->id));
    return found;
  };
  co_return co_await parts_.pool.run(resolve);
}

net::awaitable<Result<void>> ContainerStorage::check_image(ContainerPtr container) {
  if (!parts_.images.has_admission()) co_return Result<void>();
  const std::function<Result<void>()> ask =
      [&store = parts_.images, id = container->origin.image_id] { return store.may_run(id); };
  co_return co_await parts_.pool.run(ask);
}

net::awaitable<Result<void>> ContainerStorage::make(ContainerPtr container) {
  if (::mkdir(container->storage.directory.c_str(), 0700) != 0)
    co_return base::errno_error("mkdir " + container->storage.directory.string());
  auto created =
      co_await parts_.disks.create(container->disk(), container->settings.limits.disk_bytes);
  if (!created) co_return base::annotate(std::move(created), "writable layer");
  // From here on the image's layers stay until this container is removed.
  const std::function<Result<images::Image>()> hold = [&store = parts_.images, container] {
    return store.hold(container->id, container->origin.image_id);
  };
  auto held = co_await parts_.pool.run(hold);
  if (!held) co_return std::move(held).error();
  container->origin.layers = std::move(held->layers);
  co_return Result<void>();
}

net::awaitable<Result<void>> ContainerStorage::find_layers(ContainerPtr container) {
  const std::function<Result<std::vector<images::LayerFile>>()> find =
      [&store = parts_.images, container] { return store.held_layers(container->id); };
  auto layers = co_await parts_.pool.run(find);
  if (!layers) co_return std::move(layers).error();
  container->origin.layers = *std::move(layers);
  co_return Result<void>();
}

net::awaitable<void> ContainerStorage::drop(ContainerPtr container) {
  const std::function<Result<void>()> drop = [&store = parts_.images, container]() -> Result<void> {
    std::error_code error;
    std::filesystem::remove_all(container->storage.directory, error);
    if (error)
      spdlog::error("remove {}: {}", container->storage.directory.string(), error.message());
    return store.release(container->id);
  };
  const auto released = co_await parts_.pool.run(drop);
  if (!released) spdlog::error("release image: {}", released.error().message);
}

void ContainerStorage::drop_unknown_directories(const std::set<std::string>& known) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parts_.directory, error)) {
    if (known.contains(entry.path().filename().string())) continue;
    spdlog::info("removing the remains of container {}", entry.path().filename().string());
    std::filesystem::remove_all(entry.path(), error);
  }
}

net::awaitable<Result<void>> ContainerStorage::retain_only(std::set<std::string> known) {
  drop_unknown_directories(known);
  const std::function<Result<void>()> retain = [&store = parts_.images, known = std::move(known)] {
    return store.retain_only(known);
  };
  auto kept = co_await parts_.pool.run(retain);
  if (!kept) co_return base::annotate(std::move(kept), "images in use");
  co_return kept;
}

}  // namespace engine
