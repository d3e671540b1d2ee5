// Templates: makes, keeps and finds the machine templates of one tenant.
//
// <root>/<key>/memory  the guest's memory, with holes
//              state   what the monitor saved
//              info    TemplateInfo: written last, so a directory without it is unfinished
// The key is a hash of everything that shapes a template: kernel, initramfs, monitor, protocol
// versions, tenant, CPU, shape. One whose inputs changed is never found again and is removed.
//
// Threads: io_context thread; hashing and syncing run on the blocking pool.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/machines/monitor/monitor_process.h"
#include "api/machines/templates/template.h"

namespace engine {

struct TemplatesConfig {
  std::filesystem::path root;
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
  std::filesystem::path monitor;
  std::string tenant;
  std::chrono::milliseconds boot_timeout{180'000};
};

/// The hash of everything but the shape. Blocks (reads the files). Errors: an input cannot be read.
base::Result<std::string> template_inputs_hash(const TemplatesConfig& config);

/// The key of a template of this shape.
std::string template_key(const std::string& inputs_hash, const launch::Shape& shape);

class Templates {
 public:
  using Found = base::Result<std::shared_ptr<const Template>>;

  Templates(net::any_io_executor executor, async::BlockingPool& pool, MonitorLauncher& launcher,
            TemplatesConfig config);

  /// The template for `shape`, built if there is none; callers that come meanwhile wait for the
  /// same one. A failure is told to all of them, with the guest's last words; the next call tries
  /// again.
  net::awaitable<Found> get(launch::Shape shape);

  /// It, if it is there already.
  std::shared_ptr<const Template> find(const launch::Shape& shape) const;

 private:
  using ShapeKey = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;
  static ShapeKey key_of(const launch::Shape& shape) {
    return {shape.vcpus, shape.memory_bytes, shape.network_cards};
  }

  net::awaitable<Found> load_or_build(launch::Shape shape);
  net::awaitable<base::Result<std::string>> inputs_hash();

  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  MonitorLauncher& launcher_;
  TemplatesConfig config_;
  std::string inputs_hash_;  // empty until it was computed
  std::map<ShapeKey, std::shared_ptr<const Template>> ready_;
  std::map<ShapeKey, async::Reply<Found>> building_;
  std::uint64_t builds_ = 0;
};

}  // namespace engine
