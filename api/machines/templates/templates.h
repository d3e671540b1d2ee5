// Templates: makes, keeps and finds the machine templates of one tenant.
//
// <root>/<key>/memory  the guest's memory, with holes
//              state   what the monitor saved
//              info    TemplateInfo: written last, so a directory without it is unfinished
// The key is a hash of its TemplateSpec. A template whose inputs changed is never found again and
// is removed.
//
// Threads: io_context thread; hashing and syncing run on the blocking pool.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/machines/monitor/monitor_process.h"
#include "api/machines/templates/template.h"
#include "api/machines/templates/template_spec.h"

namespace engine {

struct TemplatesConfig {
  std::filesystem::path root;
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
  std::filesystem::path monitor;
  std::string tenant;
  std::chrono::milliseconds boot_timeout{180'000};
};

class Templates {
 public:
  using Found = base::Result<std::shared_ptr<const Template>>;

  Templates(net::any_io_executor executor, async::BlockingPool& pool, MonitorLauncher& launcher,
            TemplatesConfig config);

  /// The template for `shape`, built if there is none; callers that come meanwhile wait for the
  /// same one. A failure is told to all of them, with the guest's last words; the next call tries
  /// again.
  net::awaitable<Found> get(launch::Shape shape);

  /// The template for `shape` if it was built or found before; null if not.
  std::shared_ptr<const Template> find(const launch::Shape& shape) const;

 private:
  using ShapeKey = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;
  static ShapeKey key_of(const launch::Shape& shape) {
    return {shape.vcpus, shape.memory_bytes, shape.network_cards};
  }

  net::awaitable<Found> load_or_build(launch::Shape shape);
  net::awaitable<base::Result<TemplateSpec>> spec_of(launch::Shape shape);

  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  MonitorLauncher& launcher_;
  TemplatesConfig config_;
  std::optional<TemplateSpec> inputs_;  // of any shape; absent until the files were read
  std::map<ShapeKey, std::shared_ptr<const Template>> ready_;
  std::map<ShapeKey, async::Reply<Found>> building_;
  std::uint64_t builds_ = 0;
};

}  // namespace engine
