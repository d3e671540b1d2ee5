#include "guest-init/container/partitioned_disk.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cctype>

namespace guest_init {

PartitionedDisk PartitionedDisk::open(std::string device) {
  PartitionedDisk disk;
  disk.fd_.reset(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (disk.fd_) ioctl(disk.fd_.get(), BLKFLSBUF, 0);
  disk.device_ = std::move(device);
  return disk;
}

PartitionedDisk PartitionedDisk::open_window(std::string device) {
  PartitionedDisk disk = open(std::move(device));
  const int on = 1;
  if (disk.fd_) ioctl(disk.fd_.get(), BLKROSET, &on);
  return disk;
}

base::Result<std::string> PartitionedDisk::device_of(std::uint64_t offset, std::uint64_t length) {
  const auto name = [this](std::size_t number) {
    const bool digit = std::isdigit(static_cast<unsigned char>(device_.back())) != 0;
    return device_ + (digit ? "p" : "") + std::to_string(number);
  };
  for (std::size_t i = 0; i < partitions_.size(); ++i)
    if (partitions_[i].offset == offset && partitions_[i].length == length) return name(i + 1);

  constexpr std::uint64_t kSector = 512;
  constexpr std::uint64_t kDiskLimit = 1ull << 62;
  constexpr std::size_t kMostPartitions = 127;
  if (offset % kSector != 0 || length % kSector != 0 || length == 0 || offset > kDiskLimit ||
      length > kDiskLimit)
    return base::Error{base::Code::kInvalidArgument, "a partition consists of whole sectors"};
  if (partitions_.size() == kMostPartitions)
    return base::Error{base::Code::kResourceExhausted, "more than 127 partitions on " + device_};
  if (!fd_) return base::Error{base::Code::kNotFound, "no disk " + device_};

  const std::size_t number = partitions_.size() + 1;
  blkpg_partition partition{};
  partition.start = static_cast<long long>(offset);
  partition.length = static_cast<long long>(length);
  partition.pno = static_cast<int>(number);
  blkpg_ioctl_arg argument{};
  argument.op = BLKPG_ADD_PARTITION;
  argument.datalen = sizeof partition;
  argument.data = &partition;
  if (ioctl(fd_.get(), BLKPG, &argument) != 0) return base::errno_error("add " + name(number));
  partitions_.push_back({offset, length});
  return name(number);
}

}  // namespace guest_init
