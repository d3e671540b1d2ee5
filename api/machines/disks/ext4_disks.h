// Ext4Disks: Disks made by mkfs.ext4; those of the default size are copies of a master.
//
// <root>/master-<bytes>-v<format>   of the default size, formatted once
//        ready-<format>-<n>         disks of the default size, made in advance
//        tmp-*                      unfinished; removed by open(), as what has another format is
// The ext4 has a small journal: a machine whose plug was pulled leaves a disk that mounts again
// without a check. Its inode tables are marked as zeroed, so the guest has nothing to initialise,
// and are holes, so a new disk takes little room: 0.1 MiB of 64 MiB, 0.2 of 10 GiB, 12 of 4 TiB. A
// disk of another size is formatted by itself and leaves no master behind. Disks are thin: their
// sizes may add up to more than the file system has, but none is made when there is no room for a
// new one and a reserve.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/machines/disks/disks.h"

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

  /// Makes no more disks in advance; completes when the one that is being made is done.
  net::awaitable<void> close();

 private:
  void refill();
  static net::awaitable<void> fill(Ext4Disks* self);
  net::awaitable<base::Result<void>> make(std::uint64_t bytes, std::filesystem::path path);

  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  std::filesystem::path root_;
  std::size_t wanted_;
  std::vector<std::filesystem::path> ready_;
  std::uint64_t made_ = 0;
  bool closed_ = false;
  async::Latch idle_;  // no fill() runs
};

/// Makes `path` as an empty disk; nothing is left of it on an Error. Blocks.
base::Result<void> format_disk(const std::filesystem::path& path, std::uint64_t bytes);

/// Whether a file system with `available` bytes takes one more disk of `bytes`: kResourceExhausted
/// in the kernel's words if not.
base::Result<void> admit_disk(std::uint64_t bytes, std::uint64_t available);

}  // namespace engine
