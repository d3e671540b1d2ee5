#include "guest-init/container/volumes.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "guest-init/files/copy_tree.h"
#include "guest-init/files/directory_listing.h"

namespace guest_init {
namespace {

constexpr const char* kData = "_data";
constexpr const char* kNewData = "_data.new";

base::Result<base::UniqueFd> open_data(int disk) {
  base::UniqueFd data(openat(disk, kData, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!data) return base::errno_error("open the volume's data");
  return data;
}

base::Result<bool> is_empty(int directory) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  const auto first = listing->next();
  if (!first) return first.error();
  return !first->has_value();
}

/// Not what is in /proc, say.
bool is_directory_on_disk(int fd) {
  struct stat status {};
  struct statfs system {};
  return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) && fstatfs(fd, &system) == 0 &&
         (system.f_type == OVERLAYFS_SUPER_MAGIC || system.f_type == EXT4_SUPER_MAGIC);
}

/// While `_data` is empty or missing: puts a copy of `image` in its place, in one step, and only
/// once the copy is on the disk.
base::Result<void> fill(int disk, int image) {
  if (const auto data = open_data(disk); data) {
    const auto empty = is_empty(data->get());
    if (!empty) return empty.error();
    if (!*empty) return {};
  } else if (data.error().code != base::Code::kNotFound) {
    return data.error();
  }
  auto copied = copy_tree(image, disk, kNewData);
  if (!copied) return annotate(std::move(copied), "copy what the image has there");
  if (copied->has_contents && syncfs(copied->root.get()) != 0)
    return base::errno_error("write the volume back");
  if (renameat(disk, kNewData, disk, kData) != 0) return base::errno_error("fill the volume");
  return {};
}

base::Result<base::UniqueFd> open_or_make_data(int disk) {
  auto data = open_data(disk);
  if (data || data.error().code != base::Code::kNotFound) return data;
  if (mkdirat(disk, kData, 0755) != 0) return base::errno_error("create the volume's data");
  return open_data(disk);
}

base::Result<base::UniqueFd> directory_in(base::UniqueFd data, const std::string& subpath) {
  auto found = RootDirectory(std::move(data)).find(subpath);
  if (!found && found.error().code == base::Code::kNotFound)
    return base::Error{base::Code::kNotFound, "the volume has no directory \"" + subpath + "\""};
  struct stat status {};
  if (found && fstat(found->get(), &status) == 0 && !S_ISDIR(status.st_mode))
    return base::Error{base::Code::kInvalidArgument,
                       "\"" + subpath + "\" in the volume is not a directory"};
  return found;
}

bool is_same(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

base::Result<void> Volumes::mount(const std::vector<std::string>& disks, const std::string& stage,
                                  const std::vector<Place>& places, const RootDirectory& root) {
  for (const std::string& device : disks) {
    const std::string directory = stage + "/" + std::to_string(disks_.size());
    RETURN_IF_ERROR(make_directories(directory));
    RETURN_IF_ERROR(mount_disk(device, directory));
    auto disk = open_path(directory);
    if (!disk) return std::move(disk).error();
    disks_.push_back(*std::move(disk));
  }
  std::vector<bool> is_shown(disks_.size());
  for (const Place& place : places) {
    const bool first = place.disk < is_shown.size() && !is_shown[place.disk];
    auto mounted = first ? fill_from_image(place.disk, places, root) : base::Result<void>();
    if (mounted) mounted = mount_place(place, root);
    if (!mounted) return annotate(std::move(mounted), "volume at " + place.path);
    is_shown[place.disk] = true;
  }
  return {};
}

/// From the first of its places at which the image has something.
base::Result<void> Volumes::fill_from_image(std::size_t disk, const std::vector<Place>& places,
                                            const RootDirectory& root) const {
  for (const Place& place : places) {
    if (place.disk != disk || !place.copy_up) continue;
    const auto image = root.find(place.path);  // why it cannot be a place is told when it is made
    if (!image || !is_directory_on_disk(image->get())) continue;
    RETURN_IF_ERROR(fill(disks_[disk].get(), image->get()));
  }
  return {};
}

base::Result<void> Volumes::mount_place(const Place& place, const RootDirectory& root) const {
  if (place.disk >= disks_.size())
    return base::Error{base::Code::kInvalidArgument, "there is no such volume"};
  auto target = root.directory(place.path);
  if (!target) return std::move(target).error();
  if (is_same(target->get(), root.get()))
    return base::Error{base::Code::kInvalidArgument, "a volume cannot be the root directory"};
  auto data = open_or_make_data(disks_[place.disk].get());
  if (!data) return std::move(data).error();
  auto shown = directory_in(*std::move(data), place.subpath);
  if (!shown) return std::move(shown).error();
  auto mount = clone_mount(shown->get(), "");
  if (!mount) return std::move(mount).error();
  if (place.read_only) RETURN_IF_ERROR(make_read_only(mount->get(), false));
  return move_mount_to(mount->get(), target->get());
}

base::Result<void> Volumes::make_clean() const {
  base::Result<void> clean;
  for (const base::UniqueFd& disk : disks_)
    if (auto made = make_disk_read_only(disk.get()); !made) clean = std::move(made);
  return clean;
}

}  // namespace guest_init
