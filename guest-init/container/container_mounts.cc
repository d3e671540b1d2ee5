#include "guest-init/container/container_mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

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

bool is_directory(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

base::Result<bool> is_empty(int directory) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  const auto first = listing->next();
  if (!first) return first.error();
  return !first->has_value();
}

/// Whether `fd` is a directory of the image or of a disk, and not one of /proc or the like.
bool is_directory_on_disk(int fd) {
  struct stat status {};
  struct statfs system {};
  return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) && fstatfs(fd, &system) == 0 &&
         (system.f_type == OVERLAYFS_SUPER_MAGIC || system.f_type == EXT4_SUPER_MAGIC ||
          system.f_type == FUSE_SUPER_MAGIC);
}

/// While `_data` of a volume's disk or directory is empty or missing: puts a copy of `image` in its
/// place, in one step, and only once the copy is on the disk.
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

/// The same with a directory of the host, which stays the one that it is: the copy is made in it.
base::Result<void> fill_host(int directory, int image) {
  if (!is_directory(directory)) return {};
  auto filled = fill_directory(image, directory);
  return filled ? filled : annotate(std::move(filled), "copy what the image has there");
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

std::uint64_t attributes_of(const ContainerMounts::Place& place) {
  return (place.read_only ? std::uint64_t{MOUNT_ATTR_RDONLY} : 0) |
         (place.no_setuid ? std::uint64_t{MOUNT_ATTR_NOSUID} : 0) |
         (place.no_devices ? std::uint64_t{MOUNT_ATTR_NODEV} : 0) |
         (place.no_exec ? std::uint64_t{MOUNT_ATTR_NOEXEC} : 0);
}

/// Whether the file server has it.
bool is_shared(const ContainerMounts::Place& place) {
  using Source = ContainerMounts::Source;
  return place.source == Source::kDirectory || place.source == Source::kHost;
}

/// What of a source the container sees: of a volume its data, unless that is the source itself.
base::Result<base::UniqueFd> shown_part(const ContainerMounts::Place& place, int source) {
  using Source = ContainerMounts::Source;
  if (place.source == Source::kHost || place.source == Source::kSocket) {
    base::UniqueFd whole(fcntl(source, F_DUPFD_CLOEXEC, 0));
    if (!whole) return base::errno_error("duplicate a descriptor");
    if (place.subpath.empty()) return whole;
    return directory_in(std::move(whole), place.subpath);
  }
  auto data = open_or_make_data(source);
  if (!data) return data;
  return directory_in(*std::move(data), place.subpath);
}

/// Writes back what is in the page cache of the file system that `root`, which may be O_PATH, is
/// in.
base::Result<void> write_back(int root) {
  const base::UniqueFd file(openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file || syncfs(file.get()) != 0) return base::errno_error("write the host's files back");
  return {};
}

}  // namespace

base::Result<void> mount_shares(const std::string& directory) {
  return mount_at("shares", directory, "virtiofs", MS_RELATIME);
}

base::Result<void> ContainerMounts::open(const std::vector<std::string>& disks,
                                         const std::string& stage, const std::string& sockets,
                                         std::vector<Place> places) {
  places_ = std::move(places);
  RETURN_IF_ERROR(open_disks(disks, stage));
  RETURN_IF_ERROR(open_sockets(sockets));
  const bool any = std::any_of(places_.begin(), places_.end(), is_shared);
  return any ? open_shares(stage + "/shares") : base::Result<void>();
}

base::Result<void> ContainerMounts::open_disks(const std::vector<std::string>& disks,
                                               const std::string& stage) {
  for (std::uint32_t number = 0; number < disks.size(); ++number) {
    const std::string directory = stage + "/" + std::to_string(number);
    RETURN_IF_ERROR(make_directories(directory));
    RETURN_IF_ERROR(mount_disk(disks[number], directory));
    auto disk = open_path(directory);
    if (!disk) return std::move(disk).error();
    opened_[{Source::kDisk, number}].root = *std::move(disk);
  }
  return {};
}

base::Result<void> ContainerMounts::open_sockets(const std::string& directory) {
  for (const Place& place : places_) {
    if (place.source != Source::kSocket) continue;
    auto socket = open_path(directory + "/" + std::to_string(place.number));
    if (!socket) return annotate(std::move(socket), "the host's socket for " + place.path);
    opened_[{place.source, place.number}].root = *std::move(socket);
  }
  return {};
}

base::Result<void> ContainerMounts::open_shares(const std::string& directory) {
  RETURN_IF_ERROR(make_directories(directory));
  RETURN_IF_ERROR(mount_shares_(directory));
  auto root = open_path(directory);
  if (!root) return std::move(root).error();
  shares_ = *std::move(root);
  for (const Place& place : places_) {
    if (!is_shared(place)) continue;
    auto share = open_path(directory + "/" + std::to_string(place.number));
    if (!share) return annotate(std::move(share), "the host's files for " + place.path);
    opened_[{place.source, place.number}].root = *std::move(share);
  }
  return {};
}

base::Result<void> ContainerMounts::mount(const Place& place, const RootDirectory& root) {
  const auto found = opened_.find({place.source, place.number});
  if (found == opened_.end())
    return base::Error{base::Code::kInvalidArgument, "there is no such volume"};
  auto& [volume, opened] = *found;
  if (!opened.is_shown) RETURN_IF_ERROR(fill_from_image(volume, opened.root.get(), root));
  RETURN_IF_ERROR(show(place, opened.root.get(), root));
  opened.is_shown = true;
  return {};
}

// Only the first of its places at which the image has something counts: after it the volume is not
// empty.
base::Result<void> ContainerMounts::fill_from_image(const Key& volume, int to,
                                                    const RootDirectory& root) const {
  for (const Place& place : places_) {
    if (Key(place.source, place.number) != volume || !place.copy_up) continue;
    const auto image = root.find(place.path);  // show() reports what is wrong with a path
    if (!image || !is_directory_on_disk(image->get())) continue;
    RETURN_IF_ERROR(place.source == Source::kHost ? fill_host(to, image->get())
                                                  : fill(to, image->get()));
  }
  return {};
}

base::Result<void> ContainerMounts::show(const Place& place, int source,
                                         const RootDirectory& root) {
  auto shown = shown_part(place, source);
  if (!shown) return std::move(shown).error();
  auto target = is_directory(shown->get()) ? root.directory(place.path) : root.file(place.path);
  if (!target) return std::move(target).error();
  if (is_same(target->get(), root.get()))
    return base::Error{base::Code::kInvalidArgument, "a volume cannot be the root directory"};
  auto mount = clone_mount(shown->get(), "");
  if (!mount) return std::move(mount).error();
  RETURN_IF_ERROR(add_mount_attributes(mount->get(), attributes_of(place)));
  return move_mount_to(mount->get(), target->get());
}

base::Result<void> ContainerMounts::make_clean() const {
  base::Result<void> clean;
  for (const auto& [key, opened] : opened_)
    if (key.first == Source::kDisk)
      if (auto made = make_disk_read_only(opened.root.get()); !made) clean = std::move(made);
  if (shares_)
    if (auto written = write_back(shares_.get()); !written) clean = std::move(written);
  return clean;
}

}  // namespace guest_init
