#include "api/machines/templates/templates.h"

#include <spdlog/spdlog.h>

#include "api/async/shield.h"
#include "api/machines/templates/template_builder.h"
#include "api/machines/templates/template_files.h"

namespace engine {

namespace {

using base::Result;
namespace fs = std::filesystem;

}  // namespace

Templates::Templates(net::any_io_executor executor, async::BlockingPool& pool,
                     MonitorLauncher& launcher, TemplatesConfig config)
    : executor_(std::move(executor)),
      pool_(pool),
      launcher_(launcher),
      config_(std::move(config)) {}

std::shared_ptr<const Template> Templates::find(const launch::Shape& shape) const {
  const auto found = ready_.find(key_of(shape));
  return found == ready_.end() ? nullptr : found->second;
}

net::awaitable<Templates::Found> Templates::get(launch::Shape shape) {
  const ShapeKey key = key_of(shape);
  for (bool waited = false;; waited = true) {
    if (auto found = find(shape)) co_return found;
    const auto building = building_.find(key);
    if (building == building_.end()) break;
    const async::Reply<Found> pending = building->second;
    Found found = co_await pending.wait();
    // The first one began before this request: what it failed for may be mended by now.
    if (found || waited) co_return found;
  }
  async::Reply<Found> reply(executor_);
  building_.emplace(key, reply);
  Found found = co_await async::shielded(load_or_build(shape));
  if (found) ready_.emplace(key, *found);
  building_.erase(key);
  reply.set(found);
  co_return found;
}

net::awaitable<Result<TemplateSpec>> Templates::spec_of(launch::Shape shape) {
  if (!inputs_) {
    std::function<Result<TemplateSpec>()> work = [config = config_]() -> Result<TemplateSpec> {
      std::error_code error;
      fs::create_directories(config.root, error);
      auto inputs = read_template_spec(config);
      if (inputs) remove_outdated_templates(config.root, *inputs);
      return inputs;
    };
    auto inputs = co_await pool_.run(std::move(work));
    if (!inputs) co_return std::move(inputs).error();
    if (!inputs_) inputs_ = *std::move(inputs);
  }
  TemplateSpec spec = *inputs_;
  spec.shape = shape;
  co_return spec;
}

net::awaitable<Templates::Found> Templates::load_or_build(launch::Shape shape) {
  const auto spec = co_await spec_of(shape);
  if (!spec) co_return spec.error();
  const std::string key = template_key(*spec);
  const fs::path directory = config_.root / key;
  if (auto found = open_template(directory, *spec)) co_return found;

  spdlog::info("building the template for {} vCPU, {} MiB", shape.vcpus, shape.memory_bytes >> 20);
  auto draft = TemplateDraft::create(directory);
  if (!draft) co_return base::annotate(std::move(draft).error(), "build a template");
  auto builder = std::make_shared<TemplateBuilder>(executor_, launcher_, config_);
  const std::string name = "template-" + std::to_string(builds_++);
  const auto saved = co_await TemplateBuilder::build(builder, name, shape, *draft);
  if (!saved) co_return base::annotate(saved.error(), "build a template");

  TemplateInfo info;
  info.spec = *spec;
  info.streams = saved->streams;
  info.resident_bytes = saved->resident_bytes;
  std::function<Found()> publish = [&draft, info, directory]() -> Found {
    RETURN_IF_ERROR(draft->publish(info, directory));
    return open_template(directory, info.spec);
  };
  Found found = co_await pool_.run(std::move(publish));
  if (found)
    spdlog::info("template {} is ready: {} MiB of {} MiB", key.substr(0, 12),
                 saved->resident_bytes >> 20, shape.memory_bytes >> 20);
  co_return found;
}

}  // namespace engine
