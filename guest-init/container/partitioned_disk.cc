#include "guest-init/container/partitioned_disk.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cctype>
#include <cerrno>

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

std::string PartitionedDisk::name_of(std::size_t index) const {
  const bool digit = std::isdigit(static_cast<unsigned char>(device_.back())) != 0;
  return device_ + (digit ? "p" : "") + std::to_string(index + 1);
}

base::Result<void> PartitionedDisk::change(int operation, std::size_t index,
                                           const Range& range) const {
  blkpg_partition partition{};
  partition.start = static_cast<long long>(range.offset);
  partition.length = static_cast<long long>(range.length);
  partition.pno = static_cast<int>(index + 1);
  blkpg_ioctl_arg argument{};
  argument.op = operation;
  argument.datalen = sizeof partition;
  argument.data = &partition;
  if (ioctl(fd_.get(), BLKPG, &argument) == 0) return {};
  if (errno == EBUSY) return base::Error{base::Code::kConflict, name_of(index) + " is in use"};
  return base::errno_error("change " + name_of(index));
}

std::vector<PartitionedDisk::Partition>::iterator PartitionedDisk::find(const Range& range) {
  return std::ranges::find_if(
      partitions_, [&](const Partition& one) { return one.exists && one.range == range; });
}

base::Result<std::size_t> PartitionedDisk::find_or_add(const Range& range) {
  const auto known = find(range);
  if (known != partitions_.end()) return static_cast<std::size_t>(known - partitions_.begin());

  constexpr std::uint64_t kSector = 512;
  constexpr std::uint64_t kDiskLimit = 1ull << 62;
  constexpr std::size_t kMostPartitions = 127;
  if (range.offset % kSector != 0 || range.length % kSector != 0 || range.length == 0 ||
      range.offset > kDiskLimit || range.length > kDiskLimit)
    return base::Error{base::Code::kInvalidArgument, "a partition consists of whole sectors"};
  if (!fd_) return base::Error{base::Code::kNotFound, "no disk " + device_};
  const auto free = std::ranges::find(partitions_, false, &Partition::exists);
  const auto index = static_cast<std::size_t>(free - partitions_.begin());
  if (index == kMostPartitions)
    return base::Error{base::Code::kResourceExhausted, "more than 127 partitions on " + device_};
  RETURN_IF_ERROR(change(BLKPG_ADD_PARTITION, index, range));
  if (free == partitions_.end()) partitions_.emplace_back();
  partitions_[index] = {.range = range, .exists = true, .users = 0};
  return index;
}

base::Result<void> PartitionedDisk::make_ahead(const Range& range) {
  const auto index = find_or_add(range);
  if (!index) return index.error();
  return {};
}

base::Result<std::string> PartitionedDisk::take(const Range& range) {
  const auto index = find_or_add(range);
  if (!index) return index.error();
  ++partitions_[*index].users;
  return name_of(*index);
}

base::Result<void> PartitionedDisk::give_back(const Range& range) {
  const auto known = find(range);
  if (known == partitions_.end() || known->users == 0) return {};
  if (known->users > 1) {
    --known->users;
    return {};
  }
  const auto index = static_cast<std::size_t>(known - partitions_.begin());
  RETURN_IF_ERROR(change(BLKPG_DEL_PARTITION, index, range));
  *known = {};
  return {};
}

}  // namespace guest_init
