// Ext4Disks: Disks as copies of a pre-formatted ext4 master, made by mkfs.ext4.
//
// <root>/master-<bytes>-v<format>   formatted once per size
//        ready-<format>-<n>         disks of the default size, made in advance
//        tmp-*                      unfinished; removed by open()
// The ext4 has a small journal: a machine whose plug was pulled leaves a disk that mounts again
// without a check. Its inode tables are marked as zeroed, so the guest has nothing to initialise.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/engine/machines/disks.h"
#include "api/engine/machines/event.h"

namespace engine {

class Ext4Disks final : public Disks {
 public:
  Ext4Disks(net::any_io_executor executor, async::BlockingPool& pool, std::filesystem::path root,
            std::size_t ready_disks);

  /// Takes over disks made in advance by an earlier daemon and begins to make what is missing.
  /// Blocks shortly. Once.
  base::Result<void> open();

  net::awaitable<base::Result<void>> create(std::filesystem::path path,
                                            std::uint64_t bytes) override;

  /// Waits for what is being made.
  net::awaitable<void> close();

 private:
  void refill();
  static net::awaitable<void> fill(Ext4Disks* self);
  net::awaitable<base::Result<void>> copy_master(std::uint64_t bytes, std::filesystem::path path);

  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  std::filesystem::path root_;
  std::size_t wanted_;
  std::vector<std::filesystem::path> ready_;
  std::uint64_t made_ = 0;
  bool closed_ = false;
  Event idle_;  // no fill() runs
};

/// Formats `path`'s master of `bytes` if there is none yet. Blocks.
base::Result<void> make_master(const std::filesystem::path& path, std::uint64_t bytes);

}  // namespace engine
