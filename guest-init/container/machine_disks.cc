#include "guest-init/container/machine_disks.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace guest_init {

void MachineDisks::open(const Devices& devices) {
  layers_ = PartitionedDisk::open(devices.layers);
  window_ = PartitionedDisk::open_window(devices.window);
  writable_ = PartitionedDisk::open(devices.writable);
  for (const std::string& disk : {devices.layers, devices.writable}) {
    struct stat status {};
    if (stat(disk.c_str(), &status) == 0 && S_ISBLK(status.st_mode))
      numbers_.push_back(std::to_string(major(status.st_rdev)) + ":" +
                         std::to_string(minor(status.st_rdev)));
  }
}

base::Result<void> MachineDisks::make_ahead(std::uint64_t bytes) {
  return writable_.make_ahead({.offset = 0, .length = bytes});
}

base::Result<std::string> MachineDisks::take_part(PartitionedDisk& disk,
                                                  const PartitionedDisk::Range& range,
                                                  ContainerDisks& disks) {
  auto device = disk.take(range);
  if (device) disks.parts.push_back({.disk = &disk, .range = range});
  return device;
}

base::Result<void> MachineDisks::take_layers(const protocol::PrepareContainer& request,
                                             ContainerDisks& disks) {
  for (const auto& layer : request.layers) {
    auto device =
        take_part(layer.in_window ? window_ : layers_, {layer.offset, layer.length}, disks);
    if (!device) return std::move(device).error();
    disks.layers.push_back({*std::move(device), layer.in_window});
  }
  return {};
}

base::Result<void> MachineDisks::take_writable(const protocol::PrepareContainer& request,
                                               ContainerDisks& disks) {
  auto own = take_part(writable_, {request.disk.offset, request.disk.length}, disks);
  if (!own) return std::move(own).error();
  disks.writable = *std::move(own);
  for (const auto& volume : request.volume_disks) {
    auto device = take_part(writable_, {volume.offset, volume.length}, disks);
    if (!device) return std::move(device).error();
    disks.volumes.push_back(*std::move(device));
  }
  return {};
}

base::Result<ContainerDisks> MachineDisks::take(const protocol::PrepareContainer& request) {
  ContainerDisks disks;
  disks.numbers = numbers_;
  base::Result<void> taken = take_layers(request, disks);
  if (taken) taken = take_writable(request, disks);
  if (taken) return disks;
  [[maybe_unused]] const auto given_back = give_back(disks);  // nobody uses what is only taken
  return std::move(taken).error();
}

base::Result<void> MachineDisks::give_back(ContainerDisks& disks) {
  while (!disks.parts.empty()) {
    const ContainerDisks::Part& part = disks.parts.back();
    RETURN_IF_ERROR(part.disk->give_back(part.range));
    disks.parts.pop_back();
  }
  return {};
}

}  // namespace guest_init
